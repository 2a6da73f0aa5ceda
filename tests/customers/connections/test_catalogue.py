"""The catalogue: kept for a day, summed up, compared, and never believed when it is implausible."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from customers.accounts.offerings.forms import OfferingsForm, rebase
from customers.connections import catalogue
from customers.models import Offering as Entry
from portal.audit.models import AuditEvent
from portal.commands import Command
from portal.providers import ProviderOffering
from portal.refusals import Refusal
from tests.customers.conftest import ADDON, BIGGER, PACKAGE, Desk
from tests.support.factories import ConnectionFactory, OfferingFactory

FREE = ProviderOffering("postkeeper.ei.free-100.v1", "package", 1)
STRANGER = ProviderOffering("postkeeper.x.gone.v9", "addon", 2)


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("postkeeper.ei.pro-100k.v1", "Pro 100K"),
        ("postkeeper.ei.pro-1.5m.v1", "Pro 1.5M"),
        ("postkeeper.x.ip.v2", "Dedicated IP"),
        ("postkeeper.x.contacts-10k.v1", "Contacts 10K"),
        ("org.ei.free.v1", "Free"),
        ("something else", "something else"),
        ("a.b.v1", "a.b.v1"),
    ],
)
def test_labels_are_for_eyes_only(name: str, label: str) -> None:
    assert catalogue.offering_label(name) == label


class TestRefresh:
    def test_keeps_what_is_sold_and_marks_what_is_gone(self, desk: Desk) -> None:
        first = timezone.now() - timedelta(days=2)
        Entry.objects.filter(connection=desk.connection).update(first_seen_at=first, last_seen_at=first)
        OfferingFactory(connection=desk.connection, name="postkeeper.ei.old.v1")
        now = timezone.now()
        catalogue.refresh_catalogue(Command(None, now), connection=desk.connection)
        sold = Entry.objects.get(connection=desk.connection, name=PACKAGE.name)
        assert (sold.first_seen_at, sold.last_seen_at, sold.gone_at) == (first, now, None)
        assert sold.entitlements["email_sends_max_monthly"] == 100_000
        assert Entry.objects.get(name="postkeeper.ei.old.v1").gone_at == now
        assert "postkeeper.ei.old.v1" not in [each.name for each in catalogue.package_choices(desk.connection)]
        assert desk.connection.catalogue_read_at == now

    def test_what_comes_back_is_sold_again(self, desk: Desk) -> None:
        Entry.objects.filter(name=PACKAGE.name).update(gone_at=timezone.now())
        catalogue.refresh_catalogue(Command(None, timezone.now()), connection=desk.connection)
        assert Entry.objects.get(name=PACKAGE.name).gone_at is None

    def test_a_failure_leaves_the_old_one(self, desk: Desk) -> None:
        before = list(Entry.objects.values_list("name", "gone_at"))
        desk.sandbox.admin.arm("status-500", "catalogue", count=None)
        with pytest.raises(Refusal):
            catalogue.refresh_catalogue(Command(None, timezone.now()), connection=desk.connection)
        assert list(Entry.objects.values_list("name", "gone_at")) == before

    def test_a_catalogue_without_packages_is_not_believed(self, desk: Desk) -> None:
        for name in Entry.objects.filter(type="package").values_list("name", flat=True):
            desk.sandbox.admin.put_offering(name, gone=1)
        with pytest.raises(Refusal, match="without packages"):
            catalogue.refresh_catalogue(Command(None, timezone.now()), connection=desk.connection)
        assert not Entry.objects.exclude(gone_at=None).exists()

    def test_is_audited_when_a_person_asks(self, desk: Desk) -> None:
        catalogue.refresh_catalogue(Command(desk.person, timezone.now()), connection=desk.connection)
        assert AuditEvent.objects.get(verb="catalogue.refreshed").actor == desk.person

    def test_when_old_only(self, desk: Desk) -> None:
        desk.sandbox.admin.clear_requests()
        now = timezone.now()
        assert catalogue.refresh_when_old(connection=desk.connection, now=now) == ""
        assert not desk.sandbox.admin.requests("catalogue")
        assert catalogue.refresh_when_old(connection=desk.connection, now=now + timedelta(hours=25)) == ""
        assert len(desk.sandbox.admin.requests("catalogue")) == 1

    def test_a_paused_connection_is_not_asked(self, desk: Desk) -> None:
        desk.connection.paused = "person"
        desk.sandbox.admin.clear_requests()
        later = timezone.now() + timedelta(hours=25)
        assert "paused" in catalogue.refresh_when_old(connection=desk.connection, now=later)
        assert not desk.sandbox.admin.requests()


class TestSums:
    def test_entitlements_count_quantities(self, desk: Desk) -> None:
        given = catalogue.entitlements_of(desk.connection, [PACKAGE, ProviderOffering(ADDON.name, "addon", 3)])
        assert given["ip_count"] == 4
        assert given["email_sends_max_monthly"] == 100_000
        assert "4 dedicated IPs" in catalogue.gives_text(given)

    def test_compare_names_what_changes_and_what_is_lost(self, desk: Desk) -> None:
        found = catalogue.compare(desk.connection, [PACKAGE, ADDON], [FREE], used=41_238)
        assert [each.name for each in found.added] == [FREE.name]
        assert [each.name for each in found.removed] == [PACKAGE.name, ADDON.name]
        lost = {each.what: each.detail for each in found.losses}
        assert "can't be restored" in lost["2 dedicated IPs"]
        assert (
            lost["97,000 emails/month"] == "Usage this billing period is already 38,238 over the new package's quota."
        )
        assert "15 subusers" in lost
        assert bool(found)

    def test_nothing_different_is_nothing(self, desk: Desk) -> None:
        assert not catalogue.compare(desk.connection, [PACKAGE, ADDON], [ADDON, PACKAGE])

    def test_more_loses_nothing(self, desk: Desk) -> None:
        found = catalogue.compare(desk.connection, [PACKAGE], [BIGGER, ADDON])
        assert found.losses == []

    def test_use_that_was_not_read_is_not_zero(self, desk: Desk) -> None:
        found = catalogue.compare(desk.connection, [BIGGER], [PACKAGE], used=None)
        assert (
            found.losses[0].detail
            == "There is no usage data for this billing period, so the remaining quota is unknown."
        )

    def test_losing_an_unknown_offering_says_so(self, desk: Desk) -> None:
        found = catalogue.compare(desk.connection, [PACKAGE, STRANGER], [PACKAGE])
        assert "isn't in the catalog," in found.losses[0].detail


class TestForm:
    def test_is_built_from_the_catalogue(self, desk: Desk) -> None:
        form = OfferingsForm(desk.connection)
        assert f"addon-{ADDON.name}" in form.fields
        sizes = [row.sends for row in form.packages()]
        assert sizes == sorted(sizes)
        assert len(sizes) == 6

    def test_chosen_is_the_full_list(self, desk: Desk) -> None:
        form = OfferingsForm(desk.connection, {"package": BIGGER.name, f"addon-{ADDON.name}": "2"})
        assert form.is_valid(), form.errors
        assert form.chosen() == [BIGGER, ProviderOffering(ADDON.name, "addon", 2)]

    def test_a_package_is_needed(self, desk: Desk) -> None:
        form = OfferingsForm(desk.connection, {f"addon-{ADDON.name}": "1"})
        assert not form.is_valid()
        assert form.chosen() == [ADDON]

    @pytest.mark.parametrize("quantity", ["-1", "1.5", "lots", "1001"])
    def test_quantities_are_whole_and_bounded(self, desk: Desk, quantity: str) -> None:
        form = OfferingsForm(desk.connection, {"package": PACKAGE.name, f"addon-{ADDON.name}": quantity})
        assert not form.is_valid()

    def test_unknown_offerings_are_kept(self, desk: Desk) -> None:
        odd = ProviderOffering("acme.weird", "bundle", 1)
        form = OfferingsForm(desk.connection, {"package": BIGGER.name}, [PACKAGE, STRANGER, odd])
        assert form.is_valid()
        assert form.chosen() == [BIGGER, STRANGER, odd]
        assert not next(row for row in form.addons() if row.choice.name == STRANGER.name).choice.sold

    def test_an_unknown_addon_can_be_lowered_and_not_raised(self, desk: Desk) -> None:
        def form(quantity: str) -> OfferingsForm:
            data = {"package": PACKAGE.name, f"addon-{STRANGER.name}": quantity}
            return OfferingsForm(desk.connection, data, [PACKAGE, STRANGER])

        assert form("0").chosen() == [PACKAGE]
        assert not form("3").is_valid()

    def test_a_package_no_longer_sold_can_stay_but_not_be_taken(self, desk: Desk) -> None:
        Entry.objects.filter(name=PACKAGE.name).update(gone_at=timezone.now())
        assert OfferingsForm(desk.connection, {"package": PACKAGE.name}, [PACKAGE]).is_valid()
        assert not OfferingsForm(desk.connection, {"package": PACKAGE.name}, [BIGGER]).is_valid()

    def test_a_field_that_did_not_arrive_stays_as_it_was(self, desk: Desk) -> None:
        form = OfferingsForm(desk.connection, {"package": PACKAGE.name}, [PACKAGE, ADDON])
        assert form.chosen() == [PACKAGE, ADDON]

    @pytest.mark.django_db
    def test_the_number_of_queries_does_not_grow(self, django_assert_num_queries) -> None:
        connection = ConnectionFactory()
        for n in range(30):
            OfferingFactory(connection=connection, name=f"postkeeper.ei.plan-{n}.v1")
        with django_assert_num_queries(1):
            form = OfferingsForm(connection, {"package": "postkeeper.ei.plan-3.v1"})
            form.packages(), form.addons(), form.gives()


@pytest.mark.parametrize(
    ("found", "wanted", "merged"),
    [
        ([PACKAGE, ADDON], [BIGGER], [BIGGER, ADDON]),  # they added, I changed the package: both
        ([BIGGER], [PACKAGE, ADDON], [BIGGER, ADDON]),  # the other way round
        ([BIGGER], [FREE], [FREE]),  # both changed the package: mine
        (
            [PACKAGE, ProviderOffering(ADDON.name, "addon", 2)],
            [PACKAGE],
            [PACKAGE, ProviderOffering(ADDON.name, "addon", 2)],
        ),
        ([PACKAGE], [BIGGER], [BIGGER]),
    ],
)
def test_rebase_keeps_both_peoples_changes(
    found: list[ProviderOffering], wanted: list[ProviderOffering], merged: list[ProviderOffering]
) -> None:
    assert sorted(rebase([PACKAGE], found, wanted)) == sorted(merged)


def test_rebase_keeps_a_removal() -> None:
    assert rebase([PACKAGE, ADDON], [BIGGER, ADDON], [PACKAGE]) == [BIGGER]
