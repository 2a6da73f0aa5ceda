"""Events of the demo's three months, as a list of times. Each is performed by staff through the portal's commands, or
on an account at the provider through the sandbox; no result is written directly."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from random import Random

from customers.models.operation_states import OperationKind
from customers.observed import accounts as observed_accounts
from customers.operations import commands as operation_commands
from portal.demo.companies import GLOBAL, PLANS, Company, companies
from portal.demo.staff_actions import DAY, HOUR, StaffActions
from portal.demo.usage_nights import nights, read_ending_cycles, read_night
from portal.providers import ProviderOffering

DEDICATED_IP = ProviderOffering("postkeeper.x.ip.v2", "addon", 1)
CONTACTS = ProviderOffering("postkeeper.x.contacts-10k.v1", "addon", 1)
BIGGER = ProviderOffering("postkeeper.ei.pro-100k.v1", "package", 1)
Moment = tuple[datetime, Callable[[], object]]


@dataclass
class Story(StaffActions):
    """All events. Play once, on an empty portal and a fresh sandbox."""

    random: Random = field(default_factory=lambda: Random(11))  # noqa: S311 the same demo everywhere

    def play(self) -> None:
        with self.stage.played():
            for at, happen in sorted(self.moments(), key=lambda moment: moment[0]):
                self.stage.move(at)
                self.try_what_is_out_of_reach()
                happen()
            self.slow_down()
            self.sandbox.switch("aha_default_sending", None)

    def moments(self) -> Iterator[Moment]:
        today = self.stage.today
        yield today - 98 * DAY, self.connect  # before the first customer, whose working day may be two days earlier
        yield self._at(41, 9), self.maintenance
        for company in companies():
            yield self._birth(company), lambda company=company: self.open(company)  # type: ignore[misc]
            yield from getattr(self, f"_{company.fate or 'quiet'}")(company)
        for at, ends in nights(today - 94 * DAY, today):
            yield at, lambda ends=ends: (read_ending_cycles if ends else read_night)(self.stage)  # type: ignore[misc]
        yield self._at(24), self.a_stranger
        for days in (30, 12, 2):
            yield self._at(days, 5), self.look_at_accounts
            yield self._at(days, 6), self.forget_secrets
        yield today - HOUR, self.look_at_accounts

    # --- Times ----------------------------------------------------------------------------------------------------

    def _at(self, days: float, hour: float = 10) -> datetime:
        """Return a time on the working day at or before `days` ago."""
        day = self.stage.today - days * DAY
        at = day.replace(hour=0, minute=0, second=0, microsecond=0) + hour * HOUR
        at += timedelta(minutes=self.random.randrange(0, 50), seconds=self.random.randrange(60))
        while at.weekday() > 4:
            at -= DAY
        return at

    def _birth(self, company: Company) -> datetime:
        if company.fate == "unknown":
            return self.stage.today - 3 * HOUR
        return self._at(company.days, self.random.randrange(8, 16))

    # --- Scenarios ------------------------------------------------------------------------------------------------

    def _quiet(self, company: Company) -> Iterator[Moment]:
        if company.number % 4 == 0 and company.days > 20:
            yield self._at(company.days / 2), self._noting(company, QUIET_NOTES[company.number // 4 % len(QUIET_NOTES)])

    _prospect = _test = _unknown = _refused = _no_username = _key_kept = _quiet

    def _upgraded(self, company: Company) -> Iterator[Moment]:
        bigger = [ProviderOffering("postkeeper.ei.pro-300k.v1", "package", 1), CONTACTS]
        yield self._at(38), self._noting(company, "A bigger catalogue is coming: wants Pro 300K, and contacts with it.")
        yield self._at(36), self._offering(company, bigger, "Ordered by Maya Reyes, signed quote 2217.")

    def _addon(self, company: Company) -> Iterator[Moment]:
        lists = [ProviderOffering(company.offering, "package", 1), DEDICATED_IP]
        yield self._at(company.days * 0.4), self._offering(company, lists, "Wants a second dedicated IP for receipts.")

    def _over(self, company: Company) -> Iterator[Moment]:
        yield self._at(20), self._noting(company, "Over the package again. Offered the next one, they think about it.")

    def _near(self, company: Company) -> Iterator[Moment]:
        """Bring the current billing period close to its quota with a campaign."""
        yield self.stage.today - 1.3 * DAY, lambda: self._fill(company, 0.87)

    def _burst(self, company: Company) -> Iterator[Moment]:
        yield self.stage.today - 2.2 * DAY, lambda: self._fill(company, 1.16)

    def _fill(self, company: Company, share: float) -> None:
        """Add a campaign that brings the period's usage to `share` of the package, if it is lower."""
        account = self.account(company)
        missing = int(PLANS[company.plan] * share) - (account.usage_used or 0)
        if missing > 0:
            self.sandbox.call("POST", f"accounts/{account.provider_id}/usage", requests=missing)

    def _gap(self, company: Company) -> Iterator[Moment]:
        """Make usage fail for two nights in a row."""
        faults: list[int] = []
        connection = company.connection
        operation = "credits" if connection == GLOBAL else "overview"
        email = {"email": company.email} if connection == GLOBAL else {}

        def begin() -> None:
            faults.append(self.sandbox.call("POST", "faults", name="status-502", operation=operation, **email)["id"])

        def end() -> None:
            self.sandbox.call("DELETE", f"faults/{faults[0]}")

        days = 6 if connection == GLOBAL else 11
        start = self.stage.today.replace(hour=0, minute=5) - days * DAY
        yield start, begin
        yield start + 2 * DAY - HOUR, end

    def _no_reading(self, company: Company) -> Iterator[Moment]:
        """Make the provider refuse this account's credits permanently."""
        yield self._at(24, 2), lambda: self._fault_for_good("status-403", "credits", company)
        yield self._at(21), self._noting(company, "Asked SendGrid why the credits cannot be read. Ticket open.")

    def _fault_for_good(self, name: str, operation: str, company: Company) -> None:
        self.sandbox.call("POST", "faults", name=name, operation=operation, email=company.email)

    def _suspended(self, company: Company) -> Iterator[Moment]:
        reason = SUSPEND_REASONS[company.number % len(SUSPEND_REASONS)]
        yield self._at(3 + company.number % 7), self._stating(OperationKind.SUSPEND, company, reason)

    def _resumed(self, company: Company) -> Iterator[Moment]:
        yield self._at(26), self._stating(OperationKind.SUSPEND, company, "Invoice 20418 open for 45 days.")
        yield self._at(22), self._stating(OperationKind.UNSUSPEND, company, "Invoice 20418 paid today.")

    def _held(self, company: Company) -> Iterator[Moment]:
        yield from self._befalls(company, "suspended", days=4 + company.number % 3)

    def _indeterminate(self, company: Company) -> Iterator[Moment]:
        yield from self._befalls(company, "indeterminate", days=2)

    def _banned(self, company: Company) -> Iterator[Moment]:
        yield self._at(33), self._noting(company, "Complaints about bought addresses. Told them to stop, in writing.")
        yield from self._befalls(company, "banned", days=29)

    def _befalls(self, company: Company, state: str, *, days: int) -> Iterator[Moment]:
        """Change the state at the provider; the portal sees it when the account is next read."""
        at = self._at(days, 3)
        yield at, lambda: self._set_state(company, state)
        yield at + 4 * HOUR, lambda: self._read(company)

    def _set_state(self, company: Company, state: str) -> None:
        self.sandbox.call("PATCH", f"accounts/{self.account(company).provider_id}", state=state)

    def _read(self, company: Company) -> None:
        observed_accounts.read_account(account=self.account(company), now=self.stage.now())

    def _deleted(self, company: Company) -> Iterator[Moment]:
        days = company.days // 4
        yield self._at(days + 3), self._noting(company, "Contract ends, they move to their parent's platform.")
        yield self._at(days), self._stating(OperationKind.DELETE, company, "Contract ended. Confirmed by e-mail.")

    def _cancelled(self, company: Company) -> Iterator[Moment]:
        def think_again() -> None:
            actor = self.staff.of(company)
            operation = self.ask_state(OperationKind.SUSPEND, company, "Invoice 20517 overdue.")
            operation_commands.cancel_operation(actor=actor, operation=operation, now=self.stage.now())

        yield self._at(10), think_again

    def _conflict(self, company: Company) -> Iterator[Moment]:
        """Change the offerings in the provider's console while the portal's change is queued."""

        def change() -> None:
            account = self.account(company)
            base = account.wanted_offerings
            operation = self.ask_offerings(company, [BIGGER], "Needs subusers.")
            rows = [{"name": each.name, "type": each.type, "quantity": each.quantity} for each in [*base, CONTACTS]]
            self.sandbox.call("PATCH", f"accounts/{account.provider_id}", offerings=rows)
            self.perform(operation)

        yield self.stage.today - 20 * HOUR, change

    def _attention(self, company: Company) -> Iterator[Moment]:
        """Make a suspend fail three times. No automatic retry follows."""

        def fail() -> None:
            with self.sandbox.fault("before-status-502", operation="put-state", email=company.email):
                self._stating(OperationKind.SUSPEND, company, "Sends to addresses that never signed up.")()

        yield self.stage.today - 26 * HOUR, fail

    def _left(self, company: Company) -> Iterator[Moment]:
        """Delete the account in the middle of a billing month, on a fifteenth."""
        middle = self.stage.today.replace(day=15, hour=11, minute=20)
        if middle > self.stage.today - DAY:
            middle = (middle.replace(day=1) - DAY).replace(day=15)
        yield middle - 2 * DAY, self._noting(company, "The station closes. Delete the account after the last show.")
        yield middle, self._stating(OperationKind.DELETE, company, "Closed down. Confirmed by phone.")

    def _cap_raised(self, company: Company) -> Iterator[Moment]:
        raising = lambda: self.perform(self.ask_cap(company, 250_000, "Recall letters to all patients in spring."))  # noqa: E731
        yield self._at(25), raising

    def _key_rotated(self, company: Company) -> Iterator[Moment]:
        yield self._at(18), lambda: self.perform(self.rotate_key(company))

    # --- Actions for later ------------------------------------------------------------------------------------------

    def _noting(self, company: Company, text: str) -> Callable[[], object]:
        return lambda: self.note(company, text)

    def _offering(self, company: Company, offerings: list[ProviderOffering], reason: str) -> Callable[[], object]:
        return lambda: self.perform(self.ask_offerings(company, offerings, reason))

    def _stating(self, kind: OperationKind, company: Company, reason: str) -> Callable[[], object]:
        return lambda: self.perform(self.ask_state(kind, company, reason))


QUIET_NOTES = (
    "Quarterly call: happy, no changes.",
    "New contact from next month. Will send the details.",
    "Asked for SPF and DKIM help. Sent the guide.",
    "Wants one invoice for both brands. Told finance.",
    "Plans a sale in the last week of the month.",
)
SUSPEND_REASONS = (
    "Invoice 20533 unpaid for 60 days.",
    "Spam-trap hits reported. Suspended until the list is cleaned.",
    "Asked us to stop sending while they change agencies.",
)
