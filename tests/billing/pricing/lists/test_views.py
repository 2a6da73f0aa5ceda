"""Pages of price lists: from an empty list to a published version, by hand and by CSV."""

from __future__ import annotations

import re
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from billing.models import PriceList, PriceVersion
from billing.pricing.lists import effects
from billing.pricing.lists.commands import create_price_list
from billing.pricing.lists.drafts import start_draft
from portal.access.permissions import Permission
from portal.audit.models import AuditEvent
from portal.refusals import Refusal
from tests.billing.pricing.pages import (
    BASE,
    IP,
    OVERAGE,
    by,
    client_of,
    contract_of,
    draft_with,
    new_list,
    page_of,
    posted,
    published,
    saved,
    words_of,
)
from tests.billing.pricing.statements.agreed import account, figure
from tests.house.principals import with_permissions
from tests.support.factories import PACKAGE, CustomerFactory, CustomRoleFactory, OfferingFactory, UserFactory

pytestmark = pytest.mark.django_db


@pytest.fixture
def finance() -> Client:
    return client_of()


def today() -> date:
    return timezone.now().date()


def url(route: str, row: Any, query: str = "") -> str:
    return reverse(f"billing:{route}", args=[row.public_id]) + query


def hidden_of(client: Client, address: str) -> dict[str, str]:
    """What the page of publishing carries."""
    page = client.get(address).content.decode()
    return dict(re.findall(r'type="hidden" name="(edits|seen)" value="([^"]*)"', page))


def csv_of(text: str) -> SimpleUploadedFile:
    return SimpleUploadedFile("prices.csv", text.encode(), content_type="text/csv")


class TestALIst:
    def test_it_is_created_listed_renamed_and_archived(self, finance: Client) -> None:
        facts = {"name": "Standard 2026", "side": "sell", "provider_kind": "sendgrid", "currency": "eur"}
        posted(finance, reverse("billing:price-list-create"), **facts)
        row = PriceList.objects.get()
        assert (row.name, row.currency, row.side) == ("Standard 2026", "EUR", "sell")
        assert "Standard 2026" in page_of(finance, "price-lists")
        saved(finance, url("price-list-edit", row), name="Standard")
        assert "No prices in force" in page_of(finance, "price-list", row.public_id)
        posted(finance, url("price-list-archive", row))
        assert "Standard" not in page_of(finance, "price-lists")
        assert "Standard" in page_of(finance, "price-lists", query="?show=archived")
        posted(finance, url("price-list-restore", row))
        assert "Standard" in page_of(finance, "price-lists")
        verbs = list(AuditEvent.objects.order_by("id").values_list("verb", flat=True))
        assert verbs == [f"price_list.{each}" for each in ("created", "edited", "archived", "restored")]

    @pytest.mark.parametrize(
        ("facts", "says"),
        [({"name": "standard"}, "already has this name"), ({"currency": "XYZ"}, "Unknown currency"),
         ({"currency": "XAU"}, "Unknown currency"), ({"provider_kind": "x"}, "valid choice")],
    )  # fmt: skip
    def test_what_is_refused(self, finance: Client, facts: dict[str, str], says: str) -> None:
        new_list("Standard")
        values = {"name": "Other", "side": "sell", "provider_kind": "sendgrid", "currency": "EUR"} | facts
        assert says in words_of(posted(finance, reverse("billing:price-list-create"), 422, **values))
        assert PriceList.objects.count() == 1

    def test_filters(self, finance: Client) -> None:
        published(new_list("In euros"), BASE, since=today())
        new_list("In dollars", currency="USD")
        draft_with(new_list("Ahasend", kind="ahasend"), BASE | {"offering": ""})
        shown = {
            "?currency=USD": ["In dollars"], "?provider=ahasend": ["Ahasend"], "?show=draft": ["Ahasend"],
            "?show=none": ["In dollars", "Ahasend"], "?q=euros": ["In euros"], "?q=nothing": [],
        }  # fmt: skip
        for query, names in shown.items():
            text = page_of(finance, "price-lists", query=query)
            assert [each for each in ("In euros", "In dollars", "Ahasend") if f"{each} " in text] == names, query
        assert "unknown value" in page_of(finance, "price-lists", query="?currency=EEE", status=400)
        assert "unknown value" in page_of(client_of("customer_success"), "price-lists", query="?side=cost", status=400)

    def test_the_list_takes_as_many_queries_for_more_rows(self, finance: Client) -> None:
        counts = []
        for n in range(12):
            published(new_list(f"List {n}"), BASE, since=today())
            page_of(finance, "price-lists")  # the session is as old then
            with CaptureQueriesContext(connection) as queries:
                page_of(finance, "price-lists")
            counts.append(len(queries))
        assert len(set(counts)) == 1


class TestADraft:
    def test_prices_are_added_edited_and_removed(self, finance: Client) -> None:
        OfferingFactory(name=PACKAGE)
        row = new_list()
        posted(finance, url("price-draft-start", row))
        draft = row.versions.get()
        add = url("price-add", draft, "?item=package")
        assert add in finance.get(url("price-version", draft)).content.decode()
        assert PACKAGE in finance.get(add).content.decode()
        tiers = {"up_to_1": "400,000", "rate_1": "0.85", "rate_2": "0.7"}
        saved(finance, add, offering=PACKAGE, amount="89.95", included="100,000", **tiers)
        draft.refresh_from_db()
        assert [(each["component"], each.get("amount")) for each in draft.prices] == [
            ("base", "89.95"),
            ("overage", None),
        ]
        assert draft.prices[1]["tiers"] == [{"up_to": 400_000, "rate": "0.85"}, {"up_to": None, "rate": "0.70"}]
        assert draft.prices[1]["per"] == 1000
        edit = url("price-edit", draft, f"?item=package&offering={PACKAGE}")
        saved(finance, edit, amount="99", on_start="prorated")
        draft.refresh_from_db()
        assert (draft.prices[0]["amount"], draft.prices[0]["on_start"]) == ("99.00", "prorated")
        event = AuditEvent.objects.latest("id")
        assert [value for name, value in event.before.items() if "amount" in name] == ["89.95"]
        posted(finance, url("price-remove", draft, f"?item=package&offering={PACKAGE}"))
        draft.refresh_from_db()
        assert (draft.prices, draft.edits) == ([], 3)

    def test_a_unit_price(self, finance: Client) -> None:
        draft = draft_with(new_list(), BASE)
        add = url("price-add", draft, "?item=dedicated_ip")
        saved(finance, add, offering="ip", amount="20", included="1", prorated="on")
        draft.refresh_from_db()
        price = next(each for each in draft.prices if each["component"] == "dedicated_ip")
        assert (price["amount"], price["included"], price["prorated"]) == ("20.00", 1, True)
        text = words_of(saved(finance, add, 422, offering="ip", amount="20", included="1"))
        assert "already has this price" in text

    def test_one_package_where_accounts_have_no_offerings(self, finance: Client) -> None:
        draft = draft_with(new_list(kind="ahasend"))
        saved(finance, url("price-add", draft, "?item=package"), amount="10", included="0", rate_1="0.5")
        draft.refresh_from_db()
        assert {each["offering"] for each in draft.prices} == {""}
        assert finance.get(url("price-add", draft, "?item=addon")).status_code == 404

    def test_errors_stand_at_their_fields(self, finance: Client) -> None:
        draft = draft_with(new_list(), BASE)
        add = url("price-add", draft, "?item=package")
        text = words_of(saved(finance, add, 422, offering="x", included="5", up_to_1="7", rate_1="1"))
        assert "The last tier has no upper bound" in text
        assert "Enter a rate" in words_of(saved(finance, add, 422, offering="x", included="5"))
        assert "a block has" in words_of(saved(finance, add, 422, offering="x", mode="block", rate_1="1"))

    def test_a_tier_that_is_refused_is_seen(self, finance: Client) -> None:
        draft = draft_with(new_list(), BASE)
        tiers = {f"up_to_{n}": str(n) for n in range(1, 9)} | {f"rate_{n}": "1" for n in range(1, 9)}
        page = saved(finance, url("price-add", draft, "?item=package"), 422, offering="x", **tiers).content.decode()
        assert '<details class="pk-more" open>' in page
        assert "The last tier has no upper bound" in page
        tiers.pop("up_to_8")
        saved(finance, url("price-add", draft, "?item=package"), offering="x", **tiers)
        draft.refresh_from_db()
        assert len(next(each for each in draft.prices if each["offering"] == "x")["tiers"]) == 8

    def test_a_published_version_has_no_editor(self, finance: Client) -> None:
        version = published(new_list(), BASE, since=today())
        query = f"?item=package&offering={PACKAGE}"
        assert finance.get(url("price-edit", version, query)).status_code == 404
        assert (
            "Edit"
            not in page_of(finance, "price-version", version.public_id).split("Differences")[0].split("Prices")[-1]
        )

    def test_an_offering_of_no_catalog_is_named(self, finance: Client) -> None:
        OfferingFactory(name=PACKAGE)
        draft = draft_with(new_list(), BASE, IP)
        text = page_of(finance, "price-version", draft.public_id)
        assert "Offerings that are in no catalog" in text
        assert text.count("postkeeper.x.ip.v2") >= 1


class TestPublish:
    def test_differences_are_shown_and_the_version_comes_into_force(self, finance: Client) -> None:
        row = new_list()
        published(row, BASE, since=today() - timedelta(days=100))
        draft = draft_with(row, BASE | {"amount": "99"})
        text = page_of(finance, "price-publish", draft.public_id)
        assert "89.95 → 99.00" in text
        saved_page = hidden_of(finance, url("price-publish", draft))
        posted(finance, url("price-publish", draft), **saved_page, valid_from=f"{today()}", note="More")
        draft.refresh_from_db()
        assert (draft.valid_from, draft.note, draft.published_by.name) == (today(), "More", "Fiona Finance")  # type: ignore[union-attr]  # it is published
        text = page_of(finance, "price-list", row.public_id)
        assert "Version 2" in text
        assert "€99.00" in text

    def test_another_first_day_shows_its_own_differences(self, finance: Client) -> None:
        row = new_list()
        published(row, BASE, since=today() - timedelta(days=100))
        published(row, BASE | {"amount": "50"}, since=today() - timedelta(days=10))
        draft = draft_with(row, BASE | {"amount": "99"})
        opened = hidden_of(finance, url("price-publish", draft))
        earlier = f"{today() - timedelta(days=50)}"
        answer = posted(finance, url("price-publish", draft), 422, **opened, valid_from=earlier)
        text = words_of(answer)
        assert "Another version is in force on this day" in text
        assert "89.95 → 99.00" in text
        again = re.findall(r'type="hidden" name="(edits|seen)" value="([^"]*)"', answer.content.decode())
        posted(finance, url("price-publish", draft), **dict(again), valid_from=earlier)
        assert "It replaces version 2" in page_of(
            finance, "price-publish", draft_with(row, BASE).public_id, query=f"?from={today() - timedelta(days=10)}"
        )

    def test_a_draft_that_was_changed_meanwhile_is_shown_again(self, finance: Client) -> None:
        draft = draft_with(new_list(), BASE)
        answer = posted(finance, url("price-publish", draft), 422, valid_from=f"{today()}", edits="0")
        assert "was changed after you opened this page" in words_of(answer)
        draft.refresh_from_db()
        assert draft.published_at is None

    def test_a_correction_replaces_the_version_of_the_same_day(self, finance: Client) -> None:
        row = new_list()
        first = published(row, BASE, since=today())
        posted(finance, url("price-draft-start", row), source=str(first.public_id))
        draft = row.versions.get(published_at=None)
        assert (draft.valid_from, draft.prices) == (first.valid_from, first.prices)
        assert "It replaces version 1" in page_of(finance, "price-publish", draft.public_id)

    def test_an_empty_draft_is_refused(self, finance: Client) -> None:
        draft = draft_with(new_list())
        answer = posted(finance, url("price-publish", draft), 422, valid_from=f"{today()}", edits=str(draft.edits))
        assert "no prices" in words_of(answer)


class TestImport:
    HEAD = "offering,component,amount,included,mode,per,up_to,rate\n"

    def test_a_dry_run_and_the_import(self, finance: Client) -> None:
        row = new_list()
        published(row, BASE, since=today())
        text = f"{self.HEAD}{PACKAGE},base,99,,,,,\n{PACKAGE},overage,,100000,,1000,,0.9\n"
        answer = posted(finance, url("price-import", row), 200, file=csv_of(text))
        shown = words_of(answer)
        assert "Dry run" in shown
        assert "89.95 → 99.00" in shown
        assert "Rows: 1 new, 1 changed, 0 unchanged" in shown
        assert not row.versions.filter(published_at=None).exists()
        posted(finance, url("price-import", row), file_text=text, edits="0", act="import")
        draft = row.versions.get(published_at=None)
        assert [each["component"] for each in draft.prices] == ["base", "overage"]
        assert AuditEvent.objects.latest("id").verb == "price_list.prices_imported"

    def test_a_wrong_file_imports_nothing(self, finance: Client) -> None:
        row = new_list()
        answer = posted(finance, url("price-import", row), 422, file=csv_of(f"{self.HEAD}a,base,x,,,,,\nb,base,5,,,,,"))
        assert "Nothing was imported" in words_of(answer)
        posted(finance, url("price-import", row), 422, file_text=f"{self.HEAD}a,base,x,,,,,", act="import", edits="0")
        assert not PriceVersion.objects.exists()

    def test_a_draft_that_somebody_changed_is_not_replaced(self, finance: Client) -> None:
        row = new_list()
        draft_with(row, BASE)
        text = f"{self.HEAD}a,base,5,,,,,"
        answer = posted(finance, url("price-import", row), 422, file_text=text, edits="0", act="import")
        assert "The draft was changed" in words_of(answer)
        assert row.versions.get().prices[0]["offering"] == PACKAGE

    @pytest.mark.parametrize(
        ("file", "says"),
        [(b"\xff\xfe\x00", "UTF-8"), (b"x" * 1_000_001, "too large"), (b"", "no prices")],
    )
    def test_files_that_are_no_table(self, finance: Client, file: bytes, says: str) -> None:
        upload = SimpleUploadedFile("prices.csv", file)
        assert says in words_of(posted(finance, url("price-import", new_list()), 422, file=upload))

    def test_a_file_of_another_type_is_refused(self, finance: Client) -> None:
        upload = SimpleUploadedFile("prices.xlsx", f"{self.HEAD}a,base,5,,,,,".encode())
        assert "ends with .csv" in words_of(posted(finance, url("price-import", new_list()), 422, file=upload))

    def test_the_export_of_a_version_imports_into_another_list(self, finance: Client) -> None:
        version = published(new_list(), BASE, OVERAGE, IP, since=today())
        text = b"".join(finance.get(url("price-export", version)).streaming_content).decode()  # type: ignore[attr-defined]  # it streams
        other = new_list("Other")
        posted(finance, url("price-import", other), file_text=text, edits="0", act="import")
        assert other.versions.get().prices == version.prices


class TestEffect:
    @pytest.fixture
    def rated(self) -> PriceList:
        """Two customers with a list since long, one of whom used more than included last month."""
        row = new_list()
        published(row, BASE, OVERAGE, since=date(2020, 1, 1))
        last = today().replace(day=1) - timedelta(days=1)
        for used in (41_000, 130_500):
            found = account()
            contract_of(found.customer, row, since=date(2020, 1, 1))
            figure(found, used, start=last.replace(day=1), end=last)
        return row

    def test_what_changed_prices_would_have_moved(self, finance: Client, rated: PriceList) -> None:
        draft = draft_with(rated, BASE, OVERAGE | {"tiers": [{"up_to": None, "rate": "1.85"}]})
        effect = effects.price_effect(draft.prices, rated, now=timezone.now())
        assert (effect.total.moved, effect.unchanged, effect.customers) == (Decimal("30.50"), 1, 2)
        text = words_of(finance.get(url("price-effects", draft)))
        assert "+€30.50" in text
        assert "+€30.50" in words_of(finance.get(url("price-publish", draft, "?effects=1")))

    def test_of_a_file_as_a_fragment_and_as_a_page(self, finance: Client, rated: PriceList) -> None:
        text = f"{TestImport.HEAD}{PACKAGE},base,99.95,,,,,\n{PACKAGE},overage,,100000,,1000,,0.85\n"
        values = {"file_text": text, "act": "effects"}
        fragment = finance.post(url("price-import", rated), values, headers={"HX-Request": "true"})
        assert "+€" in words_of(fragment)
        assert "Dry run" not in words_of(fragment)
        assert "Dry run" in words_of(posted(finance, url("price-import", rated), 200, **values))

    def test_the_highest_customers_come_first(self, rated: PriceList, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(effects, "MOST_CUSTOMERS", 1)
        chosen, count = effects.customers_of(rated, now=timezone.now())
        assert (len(chosen), count) == (1, 2)
        effect = effects.price_effect(draft_with(rated, BASE).prices, rated, now=timezone.now())
        assert effect.is_partial

    def test_it_ends_when_its_time_is_up(self, rated: PriceList, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(effects, "AT_ONCE", 1)
        monkeypatch.setattr(effects, "MOST_SECONDS", -1)
        effect = effects.price_effect(draft_with(rated, BASE).prices, rated, now=timezone.now())
        assert (effect.rated, effect.customers, effect.is_partial) == (1, 2, True)


class TestCostLists:
    """They exist for nobody who may not see cost: on no page, in no count, file or message."""

    ROUTES = ("price-list", "price-list-edit", "price-import")
    OF_VERSIONS = ("price-version", "price-publish", "price-export", "price-effects")

    @pytest.fixture
    def cost(self) -> PriceVersion:
        return published(new_list("Secret cost", side="cost"), BASE | {"amount": "731.37"}, since=today())

    def test_customer_success_gets_none(self, cost: PriceVersion) -> None:
        client = client_of("customer_success")
        for route in self.ROUTES:
            assert client.get(url(route, cost.price_list)).status_code in (403, 404)
        for route in self.OF_VERSIONS:
            assert client.get(url(route, cost)).status_code in (403, 404)
        assert client.get(url("price-list", cost.price_list)).status_code == 404
        assert client.get(url("price-version", cost)).status_code == 404
        assert client.get(url("price-export", cost)).status_code == 404
        for query in ("", "?show=none", "?q=Secret", "?provider=sendgrid"):
            assert "Secret cost" not in page_of(client, "price-lists", query=query)

    @pytest.mark.parametrize("role", ["finance", "admin", "auditor"])
    def test_readers_of_cost_see_them(self, cost: PriceVersion, role: str) -> None:
        client = client_of(role)
        assert "Secret cost" in page_of(client, "price-lists")
        assert "731.37" in page_of(client, "price-list", cost.price_list.public_id)

    def test_they_have_no_effect_on_customers(self, finance: Client, cost: PriceVersion) -> None:
        assert finance.get(url("price-effects", cost)).status_code == 404
        draft = draft_with(cost.price_list, BASE)
        assert "Effect over the last three months" not in page_of(finance, "price-publish", draft.public_id)

    def test_commands_ask_for_the_permission_to_see_cost(self, cost: PriceVersion) -> None:
        manager = UserFactory(role="custom", custom_role=CustomRoleFactory(permissions=["view", "manage_prices"]))
        facts = {"name": "x", "side": "cost", "provider_kind": "sendgrid", "currency": "EUR"}
        with pytest.raises(Refusal, match="role"):
            create_price_list(by(manager), **facts)
        with pytest.raises(Refusal, match="role"):
            start_draft(by(manager), price_list=cost.price_list)
        create_price_list(by(manager), **facts | {"side": "sell"})

    def test_who_manages_prices_without_seeing_cost(self, cost: PriceVersion) -> None:
        client = with_permissions([Permission.MANAGE_PRICES])
        assert client.get(url("price-import", cost.price_list)).status_code == 404
        assert client.post(url("price-list-archive", cost.price_list)).status_code == 404
        facts = {"name": "Mine", "side": "cost", "provider_kind": "sendgrid", "currency": "EUR"}
        assert client.post(reverse("billing:price-list-create"), facts).status_code == 422
        assert client.get(reverse("billing:connection-billings")).status_code == 404

    def test_a_contract_cannot_have_one(self, finance: Client, cost: PriceVersion) -> None:
        new_list("Sell")
        customer = CustomerFactory()
        posted(finance, reverse("billing:contract-start", args=[customer.public_id]))
        draft = customer.contracts.get()
        page = saved(finance, url("contract-edit", draft), 422, list_sendgrid=str(cost.price_list.public_id))
        assert "Select a valid choice" in words_of(page) or "not one of the available" in words_of(page)


def test_a_command_asks_for_the_permission() -> None:
    facts = {"name": "x", "side": "sell", "provider_kind": "sendgrid", "currency": "EUR"}
    with pytest.raises(Refusal, match="role"):
        create_price_list(by(UserFactory(role="auditor")), **facts)
