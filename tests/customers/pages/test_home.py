"""The home page is a work list: what needs a person, nothing that does not."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from customers.observed.usage_readings import mark_late_usage
from customers.pages.home import SHOWN, home_page
from tests.support.factories import AccountFactory, ConnectionFactory, CustomerFactory, OperationFactory, UserFactory
from tests.support.people import sign_in

pytestmark = pytest.mark.django_db


def shown(client: Client, role: str = "customer_success") -> str:
    sign_in(client, UserFactory(role=role))
    response = client.get("/")
    assert response.status_code == 200
    return response.content.decode()


def test_a_new_installation_begins_with_a_connection(client: Client) -> None:
    assert "/connections/new/" in shown(client, "admin")
    assert "/connections/new/" not in shown(client, "finance")


def test_then_with_a_customer(client: Client) -> None:
    ConnectionFactory()
    assert "No customers yet" in shown(client)


def test_where_nothing_is_to_do_it_says_so(client: Client) -> None:
    AccountFactory()
    assert "Nothing needs review" in shown(client)


def test_only_what_needs_review_is_listed(client: Client) -> None:
    now = timezone.now()
    connection = ConnectionFactory()
    for name, facts in {
        "Over": {"usage_used": 113_000},
        "Full": {"usage_used": 100_000},
        "Old reading": {"usage_read_at": now - timedelta(hours=37)},
        "Fresh reading": {"usage_read_at": now - timedelta(hours=35)},
        "Held": {"state": "stopped_by_provider"},
        "Ours": {"state": "stopped_by_us"},
        "Deleted": {"state": "deleted", "usage_read_at": now - timedelta(days=9)},
    }.items():
        AccountFactory(connection=connection, customer__company_name=name, **facts)
    OperationFactory(account=AccountFactory(connection=connection, pending=True), kind="create", state="unknown")
    OperationFactory(account__connection=connection, state="sending")
    mark_late_usage(now=now)
    home = home_page()
    assert [str(each.customer) for each in home.over.rows] == ["Over"]
    assert [str(each.customer) for each in home.unread.rows] == ["Old reading"]
    assert [str(each.customer) for each in home.stopped.rows] == ["Held"]
    assert [(each.kind, each.state) for each in home.decide.rows] == [("create", "unknown")]
    assert [(each.kind, each.state) for each in home.running.rows] == [("suspend", "sending")]
    assert not home.quiet


def test_a_long_group_shows_its_first_rows_and_the_total(client: Client) -> None:
    AccountFactory.create_batch(SHOWN + 3, connection=ConnectionFactory(), usage_used=150_000)
    over = home_page().over
    assert (len(over.rows), over.count, over.more) == (SHOWN, SHOWN + 3, 3)
    assert "Show all over 80%" in shown(client)


def test_a_paused_connection_is_work(client: Client) -> None:
    ConnectionFactory(name="SendGrid EU", paused="auth", paused_reason="The key was refused.", paused_at=timezone.now())
    CustomerFactory()
    assert "The key was refused." in shown(client)


def test_the_cost_does_not_grow_with_the_work(django_assert_max_num_queries: Any) -> None:
    def queries() -> int:
        with django_assert_max_num_queries(25) as counted:
            home_page()
        return len(counted)

    connection = ConnectionFactory()
    AccountFactory.create_batch(SHOWN + 1, connection=connection, usage_used=150_000)
    OperationFactory(account__connection=connection, state="sending")
    few = queries()
    AccountFactory.create_batch(40, connection=connection, usage_used=150_000)
    assert queries() == few


@pytest.mark.parametrize("role", ["admin", "customer_success", "finance", "auditor"])
def test_everybody_has_a_home_and_only_their_own_doors(client: Client, role: str) -> None:
    AccountFactory()
    page = shown(client, role)
    assert ("/customers/new/" in page) is (role in ("admin", "customer_success"))
    assert ("/audit/" in page) is (role in ("admin", "auditor"))
