"""Several people at the same draft at once: one version, one contract, and no edit is lost."""

from __future__ import annotations

import multiprocessing
from datetime import date
from time import monotonic
from typing import Any

import pytest
from django.db import connection, transaction

from billing.models import Contract, ContractPriceList, PriceList, PriceVersion
from billing.pricing.contracts import commands as contract_commands
from billing.pricing.lists import commands, drafts
from portal.audit.models import AuditEvent
from portal.refusals import Refusal
from tests.billing.pricing.pages import BASE, OVERAGE, by, contract_of, draft_with, new_list, published
from tests.support.factories import PACKAGE, CustomerFactory, UserFactory
from tests.support.together import rounds, together

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.proof]
DAY = date(2026, 1, 1)


def test_a_draft_is_published_once() -> None:
    people = [UserFactory(role="finance") for _each in range(4)]
    for n in rounds():
        draft = draft_with(new_list(f"List {n}"), BASE)

        def publish(k: int, draft: PriceVersion = draft) -> str:
            try:
                drafts.publish_version(by(people[k]), version=draft, valid_from=DAY, seen_edits=draft.edits)
            except Refusal:
                return "refused"
            return "published"

        assert sorted(together(publish, 4)) == ["published", "refused", "refused", "refused"]
        assert PriceVersion.objects.filter(price_list=draft.price_list).count() == 1
        assert AuditEvent.objects.filter(verb="price_list.published", object_label=f"List {n}").count() == 1


def test_edits_of_two_prices_at_once_are_both_kept() -> None:
    people = [UserFactory(role="finance") for _each in range(2)]
    for n in rounds():
        draft = draft_with(new_list(f"List {n}"), BASE)

        def edit(k: int, draft: PriceVersion = draft) -> bool:
            facts = {"offering": f"offering-{k}", "amount": f"{k + 1}.00"}
            return drafts.edit_price(
                by(people[k]), version=draft, offering=facts["offering"], item="addon", facts=facts
            )

        assert together(edit, 2) == [True, True]
        draft.refresh_from_db()
        assert (len(draft.prices), draft.edits) == (3, 3)


def test_the_same_price_is_added_once() -> None:
    people = [UserFactory(role="finance") for _each in range(2)]
    for n in rounds():
        draft = draft_with(new_list(f"List {n}"), BASE)

        def add(k: int, draft: PriceVersion = draft) -> str:
            facts = {"offering": "a", "amount": f"{k + 1}.00"}
            try:
                drafts.edit_price(by(people[k]), version=draft, offering="a", item="addon", facts=facts, is_new=True)
            except Refusal:
                return "refused"
            return "added"

        assert sorted(together(add, 2)) == ["added", "refused"]


def test_a_list_has_one_draft() -> None:
    people = [UserFactory(role="finance") for _each in range(4)]
    for n in rounds():
        price_list = new_list(f"List {n}")

        def start(k: int, price_list: PriceList = price_list) -> int:
            return drafts.start_draft(by(people[k]), price_list=price_list).pk

        assert len(set(together(start, 4))) == 1


def test_a_contract_is_published_or_edited_never_both() -> None:
    people = [UserFactory(role="finance") for _each in range(2)]
    prices = new_list()
    published(prices, BASE, since=date(2020, 1, 1))
    for _n in rounds():
        customer = CustomerFactory()
        draft = contract_commands.start_contract(by(), customer=customer)
        facts = {"valid_from": DAY, "list_sendgrid": str(prices.public_id)}
        contract_commands.edit_contract(by(), contract=draft, facts=facts)
        draft.refresh_from_db()

        def work(k: int, draft: Contract = draft) -> str:
            try:
                if k:
                    contract_commands.publish_contract(by(people[k]), contract=draft, seen_edits=draft.edits)
                else:
                    contract_commands.edit_contract(by(people[k]), contract=draft, facts={"note": "New"})
            except Refusal:
                return "refused"
            return "done"

        assert sorted(together(work, 2)) == ["done", "refused"]
        draft.refresh_from_db()
        assert (draft.note == "New") == (draft.published_at is None)
        assert ContractPriceList.objects.filter(contract=draft).exists() == bool(draft.published_at)


def test_a_contract_is_ended_once() -> None:
    people = [UserFactory(role="finance") for _each in range(3)]
    prices = new_list()
    published(prices, BASE, since=date(2020, 1, 1))
    for _n in rounds():
        found = contract_of(CustomerFactory(), prices, since=DAY)

        def end(k: int, found: Contract = found) -> str:
            try:
                contract_commands.end_contract(by(people[k]), contract=found, last_on=date(2026, 5, 31))
            except Refusal:
                return "refused"
            return "ended"

        assert sorted(together(end, 3)) == ["ended", "refused", "refused"]


@pytest.mark.parametrize("what", ["a version", "a contract", "a draft"])
def test_nothing_is_published_of_a_list_being_archived(what: str) -> None:
    """Who archives the list has not committed when the other one begins."""
    people = [UserFactory(role="finance") for _each in range(2)]
    for n in rounds():
        prices, customer = new_list(f"List {n}"), CustomerFactory()
        published(prices, BASE, since=date(2020, 1, 1))
        contract = contract_commands.start_contract(by(), customer=customer)
        facts = {"valid_from": DAY, "list_sendgrid": str(prices.public_id)}
        contract_commands.edit_contract(by(), contract=contract, facts=facts)
        contract.refresh_from_db()
        version = None if what == "a draft" else draft_with(prices, {**BASE, "amount": "1"})
        is_archived = multiprocessing.get_context("fork").Event()

        def work(
            k: int,
            prices: PriceList = prices,
            contract: Contract = contract,
            version: PriceVersion | None = version,
            is_archived: Any = is_archived,
        ) -> str:
            if k:
                is_archived.wait(60)
                command = by(people[k])
                try:
                    if what == "a contract":
                        contract_commands.publish_contract(command, contract=contract, seen_edits=contract.edits)
                    elif version:
                        drafts.publish_version(command, version=version, valid_from=DAY, seen_edits=version.edits)
                    else:
                        drafts.start_draft(command, price_list=prices)
                except Refusal:
                    return "refused"
                finally:
                    is_archived.clear()
                return "published"
            with transaction.atomic():
                commands.archive_price_list(by(people[k]), price_list=prices)
                is_archived.set()
                until = monotonic() + 60
                while is_archived.is_set() and not somebody_waits() and monotonic() < until:
                    pass
            return "archived"

        assert sorted(together(work, 2)) == ["archived", "refused"]


def test_prices_and_an_override_that_do_not_fit() -> None:
    """The contract and the version are each sound with what was published before: one of them is refused."""
    people = [UserFactory(role="finance") for _each in range(2)]
    blocks = {**OVERAGE, "mode": "block", "block_size": 1000}
    override = {"valid_from": "2026-01-01", "valid_until": None, "offering": PACKAGE, "component": "overage"}
    for n in rounds():
        prices, customer = new_list(f"List {n}"), CustomerFactory()
        published(prices, BASE, blocks, since=date(2020, 1, 1))
        contract = contract_commands.start_contract(by(), customer=customer)
        facts = {"valid_from": DAY, "list_sendgrid": str(prices.public_id)}
        contract_commands.edit_contract(by(), contract=contract, facts=facts)
        value = override | {"block_size": 5000}
        contract_commands.replace_term(by(), contract=contract, part="overrides", index=None, value=value, was=None)
        contract.refresh_from_db()
        version = draft_with(prices, BASE, OVERAGE)

        def work(k: int, contract: Contract = contract, version: PriceVersion = version) -> str:
            try:
                if k:
                    contract_commands.publish_contract(by(people[k]), contract=contract, seen_edits=contract.edits)
                else:
                    drafts.publish_version(by(people[k]), version=version, valid_from=DAY, seen_edits=version.edits)
            except Refusal:
                return "refused"
            return "published"

        assert sorted(together(work, 2)) == ["published", "refused"]


def somebody_waits() -> bool:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        )
        return bool(cursor.fetchone()[0])
