"""Exchange rates, which are added and never changed, and the billing settings of connections."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import DatabaseError, transaction
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from billing.models import ConnectionBilling, ExchangeRate
from billing.pricing.connections.commands import edit_connection_billing
from customers.models import Connection
from portal.access.permissions import Permission
from portal.audit.models import AuditEvent
from portal.refusals import Refusal
from tests.billing.pricing.pages import by, client_of, new_list, page_of, posted, saved, words_of
from tests.house.principals import with_permissions
from tests.support.factories import ConnectionFactory, UserFactory

pytestmark = pytest.mark.django_db
RATE = {"from_currency": "usd", "rate": "0.92", "to_currency": "EUR", "on": "2026-01-31", "source": "ECB"}


@pytest.fixture
def finance() -> Client:
    return client_of()


class TestExchangeRates:
    def test_a_rate_is_added_with_its_direction(self, finance: Client) -> None:
        posted(finance, reverse("billing:exchange-rate-add"), **RATE)
        row = ExchangeRate.objects.get()
        assert (row.from_currency, row.to_currency, row.rate) == ("USD", "EUR", Decimal("0.92"))
        assert "1 USD = 0.92 EUR" in page_of(finance, "exchange-rates")
        assert AuditEvent.objects.latest("id").after["is"] == "0.92 EUR"

    def test_the_later_of_two_for_a_day_counts(self, finance: Client) -> None:
        for rate in ("0.92", "0.93"):
            posted(finance, reverse("billing:exchange-rate-add"), **RATE | {"rate": rate})
        text = page_of(finance, "exchange-rates")
        assert text.index("0.93 EUR") < text.index("0.92 EUR") < text.index("Replaced")
        with pytest.raises(DatabaseError), transaction.atomic():
            ExchangeRate.objects.update(rate=1)

    @pytest.mark.parametrize(
        ("facts", "says"),
        [({"rate": "0"}, "above 0"), ({"rate": "0,92"}, "such as 0.92"), ({"to_currency": "USD"}, "another currency"),
         ({"from_currency": "ABC"}, "Unknown currency"), ({"source": ""}, "required"),
         ({"on": "2026-02-30"}, "valid date")],
    )  # fmt: skip
    def test_what_is_refused(self, finance: Client, facts: dict[str, str], says: str) -> None:
        assert says in words_of(posted(finance, reverse("billing:exchange-rate-add"), 422, **RATE | facts))
        assert not ExchangeRate.objects.exists()

    def test_a_day_in_the_future_is_refused(self, finance: Client) -> None:
        later = timezone.now().date() + timedelta(days=2)
        text = words_of(posted(finance, reverse("billing:exchange-rate-add"), 422, **RATE | {"on": f"{later}"}))
        assert "in the future" in text

    def test_filter(self, finance: Client) -> None:
        posted(finance, reverse("billing:exchange-rate-add"), **RATE)
        assert "0.92" not in page_of(finance, "exchange-rates", query="?currency=GBP")
        assert "0.92" in page_of(finance, "exchange-rates", query="?currency=USD")
        page_of(finance, "exchange-rates", query="?currency=usd", status=400)

    def test_customer_success_only_reads(self) -> None:
        client = client_of("customer_success")
        page_of(client, "exchange-rates")
        assert client.post(reverse("billing:exchange-rate-add"), RATE).status_code == 403


class TestConnectionBilling:
    @pytest.fixture
    def connection(self) -> Connection:
        row: Connection = ConnectionFactory(name="SendGrid EU", usage_source="pooled")
        return row

    def url(self, connection: Connection) -> str:
        return reverse("billing:connection-billing", args=[connection.public_id])

    def test_settings_are_saved_and_listed(self, finance: Client, connection: Connection) -> None:
        cost = new_list("Cost 2026", side="cost")
        facts = {"zone": "Europe/Berlin", "starts_on": "2026-01-01", "cost_source": "price_list"}
        saved(finance, self.url(connection), **facts, cost_list=str(cost.public_id))
        row = ConnectionBilling.objects.get()
        assert (row.zone, row.starts_on, row.cost_list) == ("Europe/Berlin", date(2026, 1, 1), cost)
        text = page_of(finance, "connection-billings")
        assert "Europe/Berlin" in text
        assert "Cost 2026" in text
        saved(finance, self.url(connection), cost_source="volume")
        row.refresh_from_db()
        assert (row.cost_source, row.cost_list) == ("volume", None)

    @pytest.mark.parametrize(
        ("facts", "says"),
        [({"cost_source": "price_list"}, "Select the cost price list"), ({"zone": "Mars/Olympus"}, "Unknown time zone"),
         ({"cost_source": "x"}, "valid choice")],
    )  # fmt: skip
    def test_what_is_refused(self, finance: Client, connection: Connection, facts: dict[str, Any], says: str) -> None:
        assert says in words_of(saved(finance, self.url(connection), 422, **facts))

    def test_a_list_of_another_provider_is_refused(self, connection: Connection) -> None:
        other = new_list("Cost", side="cost", kind="ahasend")
        facts = {"cost_source": "price_list", "cost_list": other}
        with pytest.raises(Refusal, match="of this provider"):
            edit_connection_billing(by(), connection=connection, facts=facts)

    def test_it_is_hidden_from_who_may_not_see_cost(self, connection: Connection) -> None:
        for client in (client_of("customer_success"), with_permissions([Permission.MANAGE_PRICES])):
            assert client.get(self.url(connection)).status_code == 404
            assert client.get(reverse("billing:connection-billings")).status_code == 404
        client = with_permissions([Permission.MANAGE_PRICES])
        assert client.post(self.url(connection), {"zone": "UTC"}).status_code == 404
        with pytest.raises(Refusal, match="role"):
            edit_connection_billing(by(UserFactory(role="auditor")), connection=connection, facts={"zone": "UTC"})

    def test_an_auditor_reads_it(self, connection: Connection) -> None:
        client = client_of("auditor")
        assert "Save billing settings" not in words_of(client.get(self.url(connection)))
        assert client.post(self.url(connection), {"zone": "UTC"}).status_code == 403

    def test_the_connections_page_links_to_it(self, connection: Connection) -> None:
        page = client_of("admin").get(reverse("customers:connection", args=[connection.public_id])).content.decode()
        assert self.url(connection) in page
