"""The CSV file of an invoice: what is read, and errors at their line and column."""

from __future__ import annotations

import io

import pytest

from billing.closing.invoices.csv_file import COMMA, POINT, check_file, lines_of
from billing.closing.invoices.texts import AccountNames
from tests.support.factories import AccountFactory, ConnectionFactory

HEAD = "number,date,currency,kind,account,offering,service start,service end,quantity,amount,description\n"
ROW = "A1,2026-12-01,eur,base,{account},,2026-11-01,2026-11-30,1,89.95,Pro 100k\n"


def file(text: str) -> io.BytesIO:
    return io.BytesIO(text.encode())


def errors(text: str, decimal: str = POINT) -> list[tuple[int, str]]:
    return [(each.line, each.column) for each in check_file(file(text), decimal=decimal).errors]


@pytest.mark.django_db
def test_a_file_is_read_with_its_accounts() -> None:
    account = AccountFactory()
    data = file(HEAD + ROW.format(account=account.provider_id) + ROW.format(account="x").replace("base", "IP"))
    found = check_file(data, decimal=POINT)
    assert (found.number, f"{found.issued_on}", found.currency) == ("A1", "2026-12-01", "EUR")
    assert (found.lines, found.sum_minor, found.errors) == (2, 2 * 8995, [])
    lines = list(lines_of(data, decimal=POINT, names=AccountNames(account.connection_id)))
    assert [(each["n"], each["kind"], each["account_id"]) for each in lines] == [
        (1, "base", account.pk),
        (2, "dedicated_ip", None),
    ]


@pytest.mark.django_db
def test_accounts_of_other_connections_are_not_found() -> None:
    account = AccountFactory()
    assert AccountNames(ConnectionFactory().pk).find(account.provider_id) is None


@pytest.mark.parametrize(
    ("old", "new", "column"),
    [
        ("89.95", '"89,95"', "amount"),
        ("89.95", "89,95", ""),
        ("89.95", "89.955", "amount"),
        ("89.95", "", "amount"),
        ("base", "fee", "kind"),
        ("eur", "ZZZ", "currency"),
        ("2026-12-01", "01.12.2026", "date"),
        ("2026-12-01", "1900-12-01", "date"),
        ("2026-11-30", "2026-10-31", "service end"),
        ("2026-11-01", "20261101", "service start"),
        (",1,", ",1.5,", "quantity"),
        ("A1", "", "number"),
        ("A1", "x" * 61, "number"),
        ("Pro 100k", "a\u202eb", "description"),
    ],
)
def test_a_wrong_cell_is_an_error(old: str, new: str, column: str) -> None:
    assert errors(HEAD + ROW.format(account="") + "\n" + ROW.format(account="").replace(old, new)) == [(4, column)]


@pytest.mark.parametrize(
    ("old", "new", "column"), [("A1", "A2", "number"), ("12-01", "12-02", "date"), ("eur", "USD", "currency")]
)
def test_several_invoices_in_a_file_are_refused(old: str, new: str, column: str) -> None:
    assert errors(HEAD + ROW + ROW.replace(old, new)) == [(3, column)]


def test_thousands_and_a_comma_are_read() -> None:
    text = (HEAD + ROW.replace("89.95", '"1.234,50"').replace(",1,", ',"1.000",')).replace("eur", "EUR")
    found = check_file(file(text), decimal=COMMA)
    assert (found.errors, found.sum_minor) == ([], 123450)
    assert next(lines_of(file(text), decimal=COMMA, names=_Nobody()))["quantity"] == 1000  # type: ignore[arg-type]


class _Nobody:
    def find(self, _text: str) -> None:
        return None


def test_semicolons_and_other_columns() -> None:
    text = (HEAD.replace("\n", ",region\n") + ROW.replace("\n", ",EMEA\n")).replace(",", ";")
    found = check_file(file("\ufeff" + text), decimal=POINT)
    assert (found.errors, found.ignored, found.sum_minor) == ([], ["region"], 8995)


@pytest.mark.parametrize(
    "text", ["", HEAD, "a,b\n1,2\n", HEAD.replace("kind", "number") + ROW, HEAD + '"A1,2026', HEAD + "A1\x00\n"]
)
def test_what_is_no_table_is_refused(text: str) -> None:
    assert check_file(file(text), decimal=POINT).errors


def test_another_encoding_is_refused() -> None:
    data = io.BytesIO((HEAD + ROW.replace("Pro", "Größe")).encode("latin-1"))
    (error,) = check_file(data, decimal=POINT).errors
    assert "UTF-8" in error.text


def test_a_hundred_errors_are_shown() -> None:
    found = check_file(file(HEAD + ROW.replace("base", "x") * 130), decimal=POINT)
    assert (len(found.errors), found.more_errors) == (100, 30)
