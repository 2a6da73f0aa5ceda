"""The page "Retention", the period of a rule, and the command."""

from __future__ import annotations

from datetime import timedelta
from html import unescape
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import timezone

from customers.models import Attempt
from portal.access.models import User
from portal.audit.models import AuditEvent
from portal.commands import Command
from portal.notices.models import Notice
from portal.refusals import Refusal
from portal.retention import periods, queries, rules, runs
from portal.retention.models import RetentionPeriod, RetentionRun
from portal.retention.rules import RetentionRule, find_rule
from tests.customers.page_helpers import prose_of
from tests.retention import rows
from tests.support.edits import fields_of
from tests.support.factories import UserFactory
from tests.support.people import sign_in

pytestmark = pytest.mark.django_db
DAY = timedelta(days=1)
NOTICES = "/retention/notices/"


@pytest.fixture
def admin(client: Client) -> Client:
    return sign_in(client, UserFactory(role="admin", name="Ada"))


def command() -> Command:
    return Command(UserFactory(role="admin"))


def change(code: str, days: int | None, **more: Any) -> int | None:
    return periods.change_period(command(), rule(code), facts={"days": days}, **more)


def rule(code: str) -> RetentionRule:
    found = find_rule(code)
    assert found is not None
    return found


class TestThePage:
    def test_it_lists_every_rule_and_what_stays(self, admin: Client) -> None:
        said = prose_of(admin.get("/retention/"))
        for each in rules.retention_rules():
            assert str(each.label) in said
            assert str(each.keeps) in said
        assert "No runs yet" in said
        assert "Not counted yet" in said
        assert "The first run only counts" in said

    def test_it_shows_runs_and_the_next_one(self, admin: Client) -> None:
        rows.retention_run(timezone.now() - 2 * DAY)
        rows.notice(timezone.now() - 91 * DAY)
        rows.notice(timezone.now() - 90 * DAY + timedelta(hours=1))
        runs.apply_now()
        said = prose_of(admin.get("/retention/"))
        assert "Notifications: 1" in said
        row = next(each for each in queries.retention_rows() if each.rule.code == "notices")
        assert (row.period_label, row.due_text) == ("90 days", "1")

    def test_it_warns_about_what_is_wrong(self, admin: Client) -> None:
        run = rows.retention_run(timezone.now() - 3 * DAY)
        RetentionRun.objects.filter(pk=run.pk).update(errors={"notices": "DatabaseError"})
        for address in ("/retention/", "/engine/"):
            said = prose_of(admin.get(address))
            assert "No retention run has ended for two nights" in said
            assert "These rows weren't removed: Notifications." in unescape(said)

    def test_an_auditor_reads_and_changes_nothing(self, client: Client) -> None:
        auditor = sign_in(client, UserFactory(role="auditor"))
        page = auditor.get("/retention/")
        assert page.status_code == 200
        assert NOTICES not in page.content.decode()
        assert auditor.post(NOTICES, {"days": "120"}).status_code == 403

    @pytest.mark.parametrize("role", ["finance", "customer_success"])
    def test_others_see_nothing(self, client: Client, role: str) -> None:
        assert sign_in(client, UserFactory(role=role)).get("/retention/").status_code == 403

    def test_a_rule_that_keeps_its_rows_says_never(self, admin: Client) -> None:
        change("audit_events", 730, confirmed=True)
        assert "Retention period: Audit log" in admin.get("/retention/audit_events/").content.decode()
        assert "730 days" in admin.get("/retention/").content.decode()
        change("audit_events", None)
        assert queries.retention_row(rule("audit_events")).period_label == "Never"
        assert queries.retention_row(rule("sessions")).period_label == "Once they end"

    def test_large_counts_are_rounded(self) -> None:
        assert queries.count_text(rules.COUNTED + 1) == "more than 100,000"


class TestAPeriod:
    def test_a_longer_one_is_saved_at_once(self, admin: Client) -> None:
        page = admin.get(NOTICES)
        answer = admin.post(NOTICES, fields_of(page.content.decode()) | {"days": "120"})
        assert answer.status_code == 303
        assert periods.retention_days(rule("notices")) == 120
        event = AuditEvent.objects.get(verb="retention.period_changed")
        assert (event.before, event.after, event.actor_label) == ({"days": 90}, {"days": 120}, "Ada")

    def test_a_shorter_one_is_confirmed_with_its_rows(self, admin: Client) -> None:
        for _ in range(2):
            rows.notice(timezone.now() - 30 * DAY)
        fields = fields_of(admin.get(NOTICES).content.decode())
        answer = admin.post(NOTICES, fields | {"days": "20"})
        assert answer.status_code == 422
        assert "Rows that the next run removes permanently: 2." in prose_of(answer)
        assert periods.retention_days(rule("notices")) == 90
        fields = fields_of(answer.content.decode())
        assert (fields["confirmed"], fields["days"]) == ("20", "20")
        assert admin.post(NOTICES, fields).status_code == 303
        assert periods.retention_days(rule("notices")) == 20
        assert RetentionPeriod.objects.get(code="notices").due == 2
        assert Notice.objects.count() == 2

    def test_a_shorter_one_that_removes_nothing_yet_says_so(self, admin: Client) -> None:
        fields = fields_of(admin.get(NOTICES).content.decode())
        assert "The next run removes no rows." in prose_of(admin.post(NOTICES, fields | {"days": "20"}))

    def test_a_confirmation_is_for_one_period(self, admin: Client) -> None:
        fields = fields_of(admin.get(NOTICES).content.decode())
        answer = admin.post(NOTICES, fields | {"days": "10", "confirmed": "20"})
        assert answer.status_code == 422
        assert fields_of(answer.content.decode())["confirmed"] == "10"
        assert periods.retention_days(rule("notices")) == 90

    def test_empty_keeps_where_the_rule_allows_it(self, admin: Client) -> None:
        page = "/retention/schedules/"
        fields = fields_of(admin.get(page).content.decode())
        assert admin.post(page, fields | {"days": ""}).status_code == 303
        assert periods.retention_days(rule("schedules")) is None
        fields = fields_of(admin.get(NOTICES).content.decode())
        assert admin.post(NOTICES, fields | {"days": ""}).status_code == 422
        assert periods.retention_days(rule("notices")) == 90

    def test_a_number_after_keep_is_shorter(self, admin: Client) -> None:
        page = "/retention/audit_events/"
        fields = fields_of(admin.get(page).content.decode())
        assert admin.post(page, fields | {"days": "5000"}).status_code == 422
        assert periods.retention_days(rule("audit_events")) is None

    @pytest.mark.parametrize("days", ["6", "0", "-1", "36501", "1.5", "x" * 50, "9" * 400])
    def test_what_a_rule_does_not_allow_is_refused(self, admin: Client, days: str) -> None:
        fields = fields_of(admin.get(NOTICES).content.decode())
        assert admin.post(NOTICES, fields | {"days": days, "confirmed": days}).status_code == 422
        assert not RetentionPeriod.objects.exists()

    @pytest.mark.parametrize("code", ["sessions", "no-such-rule", "sign_in_limits"])
    def test_fixed_and_unknown_rules_have_no_page(self, admin: Client, code: str) -> None:
        assert admin.get(f"/retention/{code}/").status_code == 404

    def test_the_command_checks_as_well(self) -> None:
        for code, days in (("notices", 6), ("notices", None), ("sessions", 30), ("notices", 36_501)):
            with pytest.raises(Refusal):
                change(code, days, confirmed=True)
        with pytest.raises(periods.Unconfirmed):
            change("notices", 30)
        finance: User = UserFactory(role="finance")
        with pytest.raises(Refusal):
            periods.change_period(Command(finance), rule("notices"), facts={"days": 200})
        assert not AuditEvent.objects.exists()


class TestTheCommand:
    def test_a_dry_run_counts_and_removes_nothing(self) -> None:
        rows.notice(timezone.now() - 91 * DAY)
        said = StringIO()
        call_command("apply_retention", "--dry-run", stdout=said)
        assert "notices (90 days): 1\n" in said.getvalue()
        assert "audit_events (kept): 0\n" in said.getvalue()
        assert Notice.objects.count() == 1
        assert not RetentionRun.objects.exists()

    def test_it_removes_and_says_what(self) -> None:
        rows.retention_run(timezone.now() - 2 * DAY)
        rows.notice(timezone.now() - 91 * DAY)
        said = StringIO()
        call_command("apply_retention", stdout=said)
        assert said.getvalue() == "notices: 1 removed\n"
        said = StringIO()
        call_command("apply_retention", stdout=said)
        assert said.getvalue() == "Nothing to remove.\n"

    def test_the_first_one_only_counts(self) -> None:
        rows.notice(timezone.now() - 91 * DAY)
        said = StringIO()
        call_command("apply_retention", stdout=said)
        assert "only counted" in said.getvalue()
        assert Notice.objects.filter(kind="kind").count() == 1

    def test_it_refuses_beside_an_open_run(self) -> None:
        runs.begin_retention_run("night", now=timezone.now())
        with pytest.raises(CommandError, match="in progress"):
            call_command("apply_retention", stdout=StringIO())

    def test_it_fails_when_a_rule_fails(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def broken(before: object) -> Any:
            raise RuntimeError

        monkeypatch.setitem(rules._REGISTERED, "notices", RetentionRule("notices", "", "", "", rows=broken, days=90))
        with pytest.raises(CommandError, match=r"notices \(RuntimeError\)"):
            call_command("apply_retention", stdout=StringIO())


class TestOtherPages:
    def test_an_operation_says_that_its_bodies_were_removed(self, admin: Client) -> None:
        made = rows.attempt(timezone.now() - 200 * DAY)
        address = made.operation.get_absolute_url()
        assert "ops@northwind.example" in unescape(admin.get(address).content.decode())
        rule("attempt_bodies").remove_batch(timezone.now() - 180 * DAY)
        assert not Attempt.objects.get().request
        assert "were removed after their retention period" in prose_of(admin.get(address))

    def test_an_export_without_its_file_says_so(self, admin: Client) -> None:
        made = rows.export(timezone.now() - 200 * DAY)
        rule("usage_export_files").remove_batch(timezone.now() - 180 * DAY)
        page = f"/usage/exports/{made.public_id}/"
        assert "was removed after its retention period" in prose_of(admin.get(page))
        answer = admin.get(f"{page}file/")
        assert answer.status_code == 410
        assert b"retention period" in answer.content
