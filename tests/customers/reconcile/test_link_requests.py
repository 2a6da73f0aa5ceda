"""Linking an account to a customer that nothing shows to be its own needs another person."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from customers.directory.commands import edit_customer
from customers.models import Account, Customer, RemoteAccount
from customers.monitoring.operation_invariants import approved_by_who_asked
from customers.reconcile.link_proof import proof_of
from portal.access.models import User
from portal.approvals.models import Approval
from portal.audit.models import AuditEvent
from portal.commands import Command
from tests.customers.bulk.test_commands import colleague
from tests.customers.conftest import PACKAGE, Desk
from tests.customers.page_helpers import prose_of
from tests.customers.reconcile.test_drift import walk
from tests.support.approvals import switch_on
from tests.support.people import sign_in


@pytest.fixture(autouse=True)
def _on(db: None) -> None:
    switch_on("link_without_proof")


@pytest.fixture
def other(desk: Desk) -> User:
    return colleague()


def stranger(desk: Desk, email: str) -> RemoteAccount:
    desk.sandbox.admin.add_account(email=email, offerings=[{"name": PACKAGE.name, "type": "package", "quantity": 1}])
    walk(desk)
    return RemoteAccount.objects.orphans().get()


def link(desk: Desk, account: RemoteAccount, customer: Customer) -> Any:
    url = reverse("customers:orphan-adopt", args=[account.public_id])
    said = {"customer": str(customer.public_id), "reason": "They said so on the phone"}
    return sign_in(Client(), desk.person).post(url, said)


def decide(person: User, approval: Approval) -> Any:
    url = reverse("approvals:decide", args=[approval.public_id])
    return sign_in(Client(), person).post(url, {"do": "approve", "plan": approval.payload_hash})


def test_with_the_same_email_nobody_is_needed(desk: Desk, other: User) -> None:
    account, customer = stranger(desk, "Ops@northwind.example"), desk.customer()
    assert link(desk, account, customer).status_code == 303
    assert Account.objects.get().customer == customer
    assert AuditEvent.objects.get(verb="account.adopted").after["proof"] == ["email"]
    assert not Approval.objects.exists()


def test_without_proof_it_waits_and_is_linked_by_approval(desk: Desk, other: User) -> None:
    account, customer = stranger(desk, "hello@globex.example"), desk.customer()
    answer = link(desk, account, customer)
    approval = Approval.objects.get()
    assert answer["Location"] == approval.get_absolute_url()
    assert not Account.objects.exists()
    page = prose_of(sign_in(Client(), other).get(approval.get_absolute_url()))
    assert "hello@globex.example ops@northwind.example" in page
    assert "They said so on the phone" in page
    assert decide(other, approval).status_code == 303
    assert Account.objects.get().customer == customer
    event = AuditEvent.objects.get(verb="account.adopted")
    assert (event.actor, event.after["approval"], event.after["approved_by"]) == (
        desk.person,
        approval.code,
        "Vera Lind",
    )
    assert list(approved_by_who_asked(timezone.now())) == []


def test_nothing_is_linked_that_was_linked_or_archived_meanwhile(desk: Desk, other: User) -> None:
    account, customer = stranger(desk, "hello@globex.example"), desk.customer()
    link(desk, account, customer)
    Customer.objects.update(archived_at=timezone.now())
    answer = decide(other, Approval.objects.get())
    assert answer.status_code == 422
    assert "Reject it, and ask" in prose_of(answer)
    assert not Account.objects.exists()


@pytest.mark.parametrize(
    ("account", "customer", "proof"),
    [
        ({"email": "a@b.example"}, {"email": "A@B.example"}, ["email"]),
        ({"email": "a@b.example", "name": "Acme"}, {"email": "c@b.example", "company_name": "Acme"}, []),
        ({"name": "Acme"}, {"company_name": "acme"}, []),
        (
            {"name": "Acme", "website": "https://www.acme.example/"},
            {"company_name": "ACME", "website": "acme.example"},
            ["name", "website"],
        ),
        ({"name": "Acme", "website": "a.example"}, {"company_name": "Acme", "website": "b.example"}, []),
        ({}, {}, []),
    ],
)
def test_proof(account: dict[str, str], customer: dict[str, str], proof: list[str]) -> None:
    assert proof_of(RemoteAccount(**account), Customer(**customer)) == proof


@pytest.mark.parametrize(("hours_ago", "requests"), [(0, 1), (25, 0)])
def test_an_email_edited_just_now_proves_nothing(desk: Desk, other: User, hours_ago: int, requests: int) -> None:
    account, customer = stranger(desk, "hello@globex.example"), desk.customer()
    Customer.objects.filter(pk=customer.pk).update(email="hello@globex.example")
    at = timezone.now() - timedelta(hours=hours_ago)
    AuditEvent.objects.create(
        verb="customer.edited", object_id=customer.public_id, actor=desk.person, at=at, after={"email": "masked"}
    )
    link(desk, account, customer)
    assert Approval.objects.count() == requests
    assert Account.objects.filter(customer=customer).exists() is (requests == 0)


def test_an_edit_by_the_page_proves_nothing(desk: Desk, other: User) -> None:
    account, customer = stranger(desk, "hello@globex.example"), desk.customer()
    edit_customer(Command(desk.person), customer=customer, facts={"email": "hello@globex.example"})
    link(desk, account, customer)
    approval = Approval.objects.get()
    assert not Account.objects.exists()
    assert decide(other, approval).status_code == 303
    assert Account.objects.get().customer == customer
