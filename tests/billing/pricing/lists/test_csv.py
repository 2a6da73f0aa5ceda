"""The CSV file of a price list: the export imports unchanged, and each refused cell is named."""

from __future__ import annotations

import csv
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from billing.pricing.lists import csv_import
from billing.pricing.lists.csv_import import DryRun, dry_run, price_file
from billing.pricing.lists.csv_resource import PriceResource
from billing.pricing.lists.csv_rows import COLUMNS
from billing.pricing.lists.prices import Price, checked_prices
from portal.exports import csv_lines
from tests.billing.pricing.pages import BASE, IP, OVERAGE

ROOT = Path(__file__).resolve().parents[4]
HOSTILE = ["=1+1", "@x", "'=x", "''y", "a;=b", "-5", "+3", "a|b", "x'y", "%A", "\u00e9", "e\u0301"]


def text_of(prices: list[Price], delimiter: str = ",") -> str:
    header, rows = price_file(prices)
    text = "".join(csv_lines([header, *rows]))
    if delimiter == ",":
        return text
    written = StringIO()
    csv.writer(written, delimiter=delimiter).writerows(csv.reader(StringIO(text)))
    return written.getvalue()


@pytest.mark.django_db
class TestRoundTrip:
    @pytest.mark.parametrize("delimiter", [",", ";"])
    def test_the_export_imports_unchanged(self, delimiter: str) -> None:
        prices = checked_prices([BASE, OVERAGE, IP, IP | {"component": "one_time", "tax_code": "=7"}])
        found = dry_run(text_of(prices, delimiter), stored=prices, provider_kind="sendgrid", offerings=[])
        assert found == DryRun(prices=prices, rows={"new": 0, "update": 0, "skip": 5})

    def test_names_that_look_like_formulas(self) -> None:
        prices = checked_prices([BASE | {"offering": name} for name in HOSTILE])
        text = text_of(prices)
        assert not any(row[0][:1] in "=+-@%" for row in csv.reader(StringIO(text)) if row[0])
        assert dry_run(text, stored=prices, provider_kind="sendgrid", offerings=[]).prices == prices

    @pytest.mark.parametrize("name", [each for each in HOSTILE if not set(each) & set(";|")])
    def test_names_that_are_in_no_catalog(self, name: str) -> None:
        prices = checked_prices([BASE | {"offering": name, "account_code": name.replace("e\u0301", "\u00e9")}])
        assert dry_run(text_of(prices), stored=[], provider_kind="sendgrid", offerings=[]).prices == prices

    def test_a_provider_without_offerings(self) -> None:
        prices = checked_prices([BASE | {"offering": ""}, OVERAGE | {"offering": ""}])
        assert dry_run(text_of(prices), stored=[], provider_kind="ahasend", offerings=[]).prices == prices


@pytest.mark.django_db
def test_the_examples_of_page_and_help_import() -> None:
    guide = (ROOT / "docs/help/prices.md").read_text()
    page = (ROOT / "templates/billing/pricing/import.html").read_text()
    for text in (guide.split("```\n")[1], page.split('<pre class="pk-code">')[1].split("</pre>")[0]):
        found = dry_run(text, stored=[], provider_kind="sendgrid", offerings=[])
        assert (found.errors, len(found.prices) >= 2) == ([], True)


amounts = st.decimals(min_value=0, max_value=999_999, places=9, allow_nan=False).map(lambda each: format(each, "f"))
edges = st.sampled_from(["full", "prorated"])


@st.composite
def prices_of(draw: Any) -> list[Price]:
    """Return a list that may have anything."""
    found: list[Price] = []
    for name in draw(st.lists(st.sampled_from(["a", "b.c", "d e"]), unique=True, min_size=1)):
        common = {"offering": name, "account_code": draw(st.sampled_from(["", "4400", "-8"])), "tax_code": ""}
        parts = draw(st.lists(st.sampled_from(["base", "overage", "addon", "one_time"]), unique=True, min_size=1))
        for part in parts:
            price: Price = common | {"component": part}
            if part == "overage":
                bounds = sorted(draw(st.sets(st.integers(1, 10**12), max_size=4)))
                tiers = [{"up_to": each, "rate": draw(amounts)} for each in [*bounds, None]]
                price |= {"tiers": tiers, "included": draw(st.integers(0, 10**12)), "per": draw(st.integers(1, 1000))}
                price |= {"mode": draw(st.sampled_from(["graduated", "volume"]))}
                price |= {"when_changed": draw(st.sampled_from([None, "last", "incurred"]))}
            else:
                price |= {"amount": draw(amounts)}
            if part in ("base", "addon"):
                price |= {"on_start": draw(edges), "bill_when_suspended": draw(st.booleans())}
            if part == "addon":
                price |= {"prorated": draw(st.booleans()), "included": draw(st.integers(0, 9))}
            found.append(price)
    return checked_prices(found)


@pytest.mark.django_db
@settings(max_examples=40, deadline=None)
@given(prices_of())
def test_any_list_imports_unchanged(prices: list[Price]) -> None:
    found = dry_run(text_of(prices), stored=[], provider_kind="sendgrid", offerings=[])
    assert (found.errors, found.prices) == ([], prices)


HEAD = "offering,component,amount,included,mode,per,block_size,up_to,rate\n"


@pytest.mark.django_db
class TestRefused:
    @pytest.mark.parametrize(
        ("rows", "line", "column", "says"),
        [
            ("a,base,x,,,,,,", 2, "amount", "isn't a number"),
            ('a,base,"1,50",,,,,,', 2, "amount", "decimal point"),
            ("a,base,5,,,,,,\n\na,basee,5,,,,,,", 4, "component", "Enter one of"),
            ("a,,5,,,,,,", 2, "component", "Enter one of"),
            (",base,5,,,,,,", 2, "offering", "Enter the offering"),
            ("a,base,,,,,,,", 2, "amount", "empty"),
            ("a,base,5,7,,,,,", 2, "included", "don't use this column"),
            ("a,overage,,1,,,,,", 2, "rate", "empty"),
            ("a,overage,,1,,,,,-1", 2, "rate", "negative"),
            ("a,overage,,1,,,,9,1", 2, "up_to", "last tier"),
            ("a,overage,,1,,,,9,1\na,overage,,,,,,8,1\na,overage,,,,,,,1", 3, "up_to", "above"),
            ("a,overage,,1,,,,9,1\na,overage,,2,,,,,1", 3, "included", "another value"),
            ("a,overage,,1,block,,,,1", 2, "block_size", "a block has"),
            ("a,overage,,1,,,500,,1", 2, "block_size", "Only the mode"),
            ("a,base,5,,,,,,\na,base,6,,,,,,", 3, "component", "already"),
            ("a\u0007b,base,5,,,,,,", 2, "offering", "invisible"),
            ("a,base,5,,,,,,,", 2, "", "10 cells"),
            ('"a,base', 2, "", "valid CSV"),
        ],
    )
    def test_a_cell(self, rows: str, line: int, column: str, says: str) -> None:
        found = dry_run(HEAD + rows, stored=[], provider_kind="sendgrid", offerings=[])
        assert found.prices == []
        assert (found.errors[0].line, found.errors[0].column) == (line, column)
        assert says in found.errors[0].text

    @pytest.mark.parametrize(
        ("text", "says"),
        [
            ("", "no prices"),
            ("offering,component,colour\na,base,red", "Unknown columns: colour"),
            ("offering,component,amount,amount\na,base,1,1", "occur twice"),
            ("offering,amount\na,1", "Missing columns: component"),
            (HEAD, "no prices"),
        ],
    )
    def test_a_file(self, text: str, says: str) -> None:
        found = dry_run(text, stored=[], provider_kind="sendgrid", offerings=[])
        assert says in found.errors[0].text

    def test_what_accounts_without_offerings_cannot_have(self) -> None:
        rows = "a,base,5,,,,,,\n,addon,5,,,,,,"
        found = dry_run(HEAD + rows, stored=[], provider_kind="ahasend", offerings=[])
        assert [(each.line, each.column) for each in found.errors] == [(2, "offering"), (3, "component")]

    def test_one_wrong_row_refuses_all(self) -> None:
        found = dry_run(HEAD + "a,base,5,,,,,,\nb,base,x,,,,,,", stored=[], provider_kind="sendgrid", offerings=[])
        assert (found.prices, len(found.errors)) == ([], 1)


@pytest.mark.django_db
def test_rows_are_counted_against_the_stored_ones() -> None:
    stored = checked_prices([BASE, OVERAGE])
    changed = checked_prices([BASE | {"amount": "1"}, OVERAGE, IP])
    found = dry_run(text_of(changed), stored=stored, provider_kind="sendgrid", offerings=[])
    assert found.rows == {"new": 1, "update": 1, "skip": 2}


def test_the_columns_are_those_of_a_row() -> None:
    assert set(PriceResource().fields) == set(COLUMNS)


@pytest.mark.django_db
class TestAccepted:
    @pytest.mark.parametrize(
        "text",
        [
            "offering,component,amount\na,base,89.95\n",
            "\ufeffAmount; Component ;Offering\r\n89.95;base;a\r\n",
            "component,offering,amount\rbase,a,89.95\r",
        ],
    )
    def test_a_file_with_the_needed_columns_alone(self, text: str) -> None:
        found = dry_run(text, stored=[], provider_kind="sendgrid", offerings=[])
        assert (found.errors, found.rows) == ([], {"new": 1, "update": 0, "skip": 0})
        assert [(each["offering"], each["amount"]) for each in found.prices] == [("a", "89.95")]

    def test_as_many_rows_as_a_list_has_prices(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(csv_import, "MOST_PRICES", 3)
        rows = "".join(f"o{n},base,1,,,,,,\n" for n in range(3))
        assert len(dry_run(HEAD + rows, stored=[], provider_kind="sendgrid", offerings=[]).prices) == 3
        found = dry_run(HEAD + rows + "o3,base,1,,,,,,\n", stored=[], provider_kind="sendgrid", offerings=[])
        assert "more than 3 rows" in found.errors[0].text
