"""Processes, backups, and providers."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from django.conf import settings
from django.utils import timezone
from django.utils.translation import gettext as _

from customers.connections.client import trial_client
from customers.models import Connection, Heartbeat
from customers.monitoring import heartbeat
from customers.monitoring.backups import examine_backups
from customers.monitoring.doctor.findings import Finding, error, warning
from portal.audit import keys
from portal.audit.head import current_head
from portal.clock import database_now
from portal.encryption import DecryptionError
from portal.formats import ago_text
from portal.privacy.erased import due_again
from portal.providers import ProviderError
from portal.providers.base import Check
from portal.secret_files import UNUSED

# Events are sealed every ten seconds.
SEALED_WITHIN = timedelta(minutes=10)


def check_processes() -> Iterator[Finding]:
    """The page "System status" has these alarms of its own."""
    now = database_now()
    rows = heartbeat.heartbeats(now=now)
    scheduler = [row for row in rows if row.kind == Heartbeat.Kind.SCHEDULER]
    if not any(heartbeat.is_alive(row, now=now) for row in scheduler):
        yield error(
            "processes.scheduler",
            _("The scheduler is not running"),
            _("Scheduled changes, recovery of lost work, and nightly jobs don't happen."),
            "celery -A portal beat",
        )
    for state in heartbeat.queue_states(rows, now=now):
        name = state.queue.name
        if not state.workers:
            title = _("No worker consumes the %(queue)s queue") % {"queue": name}
            start = f"celery -A portal worker -n {name}@%h -Q {name}"
            yield error(f"processes.queue_{name}", title, str(state.queue.if_stopped), start)
        elif alarm := heartbeat.late_alarm(state):
            fix = _("Give the workers of the queue more processes (-c), or start another one.")
            yield warning(f"processes.queue_{name}_late", alarm.title, alarm.text, fix)
    if alarm := heartbeat.same_name_alarm(heartbeat.names_used_twice(rows, now=now)):
        yield warning(
            "processes.same_name", alarm.title, alarm.text, _("Start each worker with a name of its own (-n).")
        )


def check_audit_log() -> Iterator[Finding]:
    """Events without a seal for long, and a key that the last seal wasn't made with."""
    head = current_head()
    if head.waiting_since and timezone.now() - head.waiting_since > SEALED_WITHIN:
        yield warning(
            "audit.unsealed",
            _("Audit events wait for their seal, the oldest from %(ago)s") % {"ago": ago_text(head.waiting_since)},
            _("Until they are sealed, a change of them in the database isn't found."),
            _("Check the log of a worker of the clock queue. It needs AUDIT_KEY."),
        )
    if settings.AUDIT_KEY != UNUSED and head.key_id and head.key_id not in keys.keyring():
        yield error(
            "audit.key",
            _("The audit log was last sealed with the key %(key)s, which this process doesn't have")
            % {"key": head.key_id},
            _("It can't be verified, and nothing is sealed."),
            _("Set AUDIT_KEY to that key, or restart every process with the new AUDIT_KEY and AUDIT_KEY_FALLBACKS."),
        )


def check_backups() -> Iterator[Finding]:
    if found := examine_backups(now=timezone.now()):
        yield found


def check_erasures() -> Iterator[Finding]:
    """Find persons who were erased, and came back by the restore of a backup."""
    if n := len(due_again()):
        yield error(
            "erasures.undone",
            _("%(n)d erased persons are in the database again, as after a restore") % {"n": n},
            _("Their data had to be erased, and is stored again."),
            "manage.py repeat_erasures",
        )


def check_providers() -> Iterator[Finding]:
    """Read with the key of each connection; nothing is stored, and nothing changes at the provider."""
    for link in Connection.objects.order_by("name"):
        if link.paused:
            why = link.paused_reason or link.get_paused_display()
            fix = _("Open the connection's page, replace the key if it was rejected, and resume it.")
            if link.is_on_hold:
                fix = _("Open System status, then Recovery, and release it.")
            yield warning("providers.paused", _("%(name)s is paused") % {"name": link}, why, fix)
        try:
            provider = trial_client(link)
            found = provider.verify()
            skew = provider.clock_skew() or 0
        except DecryptionError:
            continue  # keys.unreadable
        except ProviderError as failure:
            yield _unreachable(link, str(failure))
            continue
        yield from _checked(link, {each.name: each for each in found})
        yield from _at_the_provider(link, skew)


def _unreachable(link: Connection, detail: str) -> Finding:
    return error(
        "providers.account_list",
        _("%(name)s can't read its accounts: %(detail)s") % {"name": link, "detail": detail},
        _("Operations of this connection wait, and its usage isn't synced."),
        _("Replace the key on the connection's page, or open %(url)s from this machine.") % {"url": link.base_url},
    )


def _checked(link: Connection, found: dict[str, Check]) -> Iterator[Finding]:
    accounts = found.get("accounts")
    if accounts is None or accounts.ok is not True:
        yield _unreachable(link, accounts.detail if accounts else "")
        return
    usage = found.get(link.usage_source)
    if usage and usage.ok is False:
        yield error(
            "providers.usage",
            _("%(name)s can't read usage: %(detail)s") % {"name": link, "detail": usage.detail},
            _("Usage of a billing period that ends unread is lost."),
            _("Select another usage source on the connection's page, or give the key access to usage."),
        )
    for scope in link.capabilities.own_scopes:
        if (check := found.get(scope.name)) and check.ok is False:
            yield warning(
                "providers.scope",
                _("The key of %(name)s lacks the scope %(scope)s") % {"name": link, "scope": scope.name},
                str(scope.allows),
                _("Add the scope %(scope)s to the key at the provider.") % {"scope": scope.name},
            )


def _at_the_provider(link: Connection, skew: float) -> Iterator[Finding]:
    if abs(skew) > heartbeat.CLOCKS_AGREE.total_seconds():
        title = _("The clock of the provider of %(name)s differs by %(n)d s") % {"name": link, "n": round(skew)}
        why = _("Times shown by the provider differ from ours. More likely this machine's clock is wrong.")
        yield warning("clock.provider", title, why, "timedatectl set-ntp true")
    most = link.capabilities.pace.per_minute
    if link.requests_per_minute > most:
        yield warning(
            "providers.quota",
            _("%(name)s may send %(n)d requests a minute, and its provider allows %(most)d")
            % {"name": link, "n": link.requests_per_minute, "most": most},
            _("The provider refuses the rest, and clicks of people wait."),
            _("Set the connection's requests per minute to %(most)d.") % {"most": most},
        )
