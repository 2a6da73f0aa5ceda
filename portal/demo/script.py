"""Events of the demo's three months, as a list of times. Each is performed by staff through the portal's commands, or
on an account at the provider through the sandbox; no result is written directly."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import cached_property, partial
from random import Random

from customers.models import Operation
from customers.observed import accounts as observed_accounts
from customers.operations.commands import cancel_operation, request_delete, request_suspend, request_unsuspend
from portal.demo import accesses
from portal.demo.companies import GLOBAL, PLANS, Company, companies
from portal.demo.prices import DemoPrices
from portal.demo.staff_actions import DAY, HOUR, StaffActions
from portal.demo.usage_nights import comparisons, nights, read_comparisons, read_ending_cycles, read_night
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
        yield today - 97.5 * DAY, self.publish_prices
        yield self._at(41, 9), self.maintenance
        for company in companies():
            yield self._birth(company), lambda company=company: self.welcome(company)  # type: ignore[misc]
            yield from self.fate_of(company)
        for at, ends in nights(today - 94 * DAY, today):
            yield at, lambda ends=ends: (read_ending_cycles if ends else read_night)(self.stage)  # type: ignore[misc]
        zones = frozenset(company.timezone for company in companies())
        for at in comparisons(today, zones):
            if at < today:
                yield at, lambda: read_comparisons(self.stage)
        yield self._at(24), self.a_stranger
        yield self._at(9, 15), lambda: accesses.export_lists(self.stage, self.staff.success[0])
        for days in (30, 12, 2):
            yield self._at(days, 5), self.look_at_accounts
            yield self._at(days, 6), self.forget_secrets
        yield today - HOUR, self.look_at_accounts
        yield today - HOUR / 2, self.close_last_month

    @cached_property
    def prices(self) -> DemoPrices:
        return DemoPrices(self.stage, self.staff.admin)

    def publish_prices(self) -> None:
        self.prices.publish()

    def close_last_month(self) -> None:
        self.prices.close_last_month()

    def welcome(self, company: Company) -> None:
        """Add a customer with its account and its contract."""
        self.open(company)
        self.prices.agree(company, self.customers[company.name])

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

    def fate_of(self, company: Company) -> Iterator[Moment]:
        """Return what befalls the company after its account was opened."""
        rows = self._on_working_days(company).get(company.fate)
        if rows is None:
            yield from getattr(self, f"_{company.fate or 'quiet'}")(company)
            return
        for days, action in rows:
            yield self._at(days), action

    def _on_working_days(self, company: Company) -> dict[str, list[tuple[float, Callable[[], object]]]]:
        """Return the plain scenarios: days ago, and action."""
        package = ProviderOffering(company.offering, "package", 1)
        bigger = [ProviderOffering("postkeeper.ei.pro-300k.v1", "package", 1), CONTACTS]
        reason = SUSPEND_REASONS[company.number % len(SUSPEND_REASONS)]
        raise_cap = partial(self.ask_cap, company, 250_000, "Sends recall letters to all patients in spring.")
        return {
            "upgraded": [
                (
                    38,
                    self._noting(
                        company, ("Their product range is growing. They want Pro 300K plus Marketing contacts.")
                    ),
                ),
                (36, self._offering(company, bigger, "Ordered by Maya Reyes (signed quote 2217).")),
            ],
            "addon": [
                (
                    company.days * 0.4,
                    self._offering(company, [package, DEDICATED_IP], ("Wants a dedicated IP for receipts.")),
                )
            ],
            "over": [
                (20, self._noting(company, "Over quota again. Offered the next package, waiting for their decision.")),
                (6 + company.number % 3, self._signing_in(company)),
            ],
            # The provider refuses this account's credits permanently.
            "no_reading": [
                (24, lambda: self.sandbox.arm("status-403", operation="credits", email=company.email)),
                (21, self._noting(company, "Asked SendGrid support why credits are not available. Ticket is open.")),
            ],
            "suspended": [(3 + company.number % 7, self._stating(request_suspend, company, reason))],
            "resumed": [
                (26, self._stating(request_suspend, company, "Invoice 20418 open for 45 days.")),
                (22, self._stating(request_unsuspend, company, "Invoice 20418 paid today.")),
            ],
            "deleted": [
                (
                    company.days // 4 + 3,
                    self._noting(company, ("Contract is ending. They are moving to their parent company's platform.")),
                ),
                (company.days // 4, self._stating(request_delete, company, "Contract ended. Confirmed by email.")),
            ],
            "cap_raised": [(25, lambda: self.perform(raise_cap()))],
            "key_rotated": [(18, lambda: self._reveal(company, self.perform(self.rotate_key(company))))],
        }

    def _quiet(self, company: Company) -> Iterator[Moment]:
        if company.number % 4 == 0 and company.days > 20:
            yield self._at(company.days / 2), self._noting(company, QUIET_NOTES[company.number // 4 % len(QUIET_NOTES)])

    _prospect = _test = _unknown = _refused = _no_username = _key_kept = _quiet

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
            faults.append(self.sandbox.arm("status-502", operation=operation, **email))

        def end() -> None:
            self.sandbox.call("DELETE", f"faults/{faults[0]}")

        days = 6 if connection == GLOBAL else 11
        start = self.stage.today.replace(hour=0, minute=5) - days * DAY
        yield start, begin
        yield start + 2 * DAY - HOUR, end

    def _held(self, company: Company) -> Iterator[Moment]:
        yield from self._befalls(company, "suspended", days=4 + company.number % 3)

    def _indeterminate(self, company: Company) -> Iterator[Moment]:
        yield from self._befalls(company, "indeterminate", days=2)

    def _banned(self, company: Company) -> Iterator[Moment]:
        yield self._at(33), self._noting(company, "Complaints about purchased lists. Sent a written warning.")
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

    def _cancelled(self, company: Company) -> Iterator[Moment]:
        def think_again() -> None:
            operation = self.ask_state(request_suspend, company, "Invoice 20517 overdue.")
            cancel_operation(self.command(company), operation=operation)

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
                self._stating(request_suspend, company, "Sends to addresses that never signed up.")()

        yield self.stage.today - 26 * HOUR, fail

    def _left(self, company: Company) -> Iterator[Moment]:
        """Delete the account in the middle of a billing month, on a fifteenth."""
        middle = self.stage.today.replace(day=15, hour=11, minute=20)
        if middle > self.stage.today - DAY:
            middle = (middle.replace(day=1) - DAY).replace(day=15)
        yield (
            middle - 2 * DAY,
            self._noting(company, ("The station is closing. Delete the account after the last show.")),
        )
        yield middle, self._stating(request_delete, company, "Closed down. Confirmed by phone.")

    def _reveal(self, company: Company, operation: Operation) -> None:
        command, key_id = self.command(company), operation.result["key_id"]
        accesses.reveal(replace(command, actor=operation.requested_by), self.account(company), key_id)

    # --- Actions for later ------------------------------------------------------------------------------------------

    def _noting(self, company: Company, text: str) -> Callable[[], object]:
        return lambda: self.note(company, text)

    def _signing_in(self, company: Company) -> Callable[[], object]:
        why = accesses.SIGN_INS[company.number % len(accesses.SIGN_INS)]
        return lambda: accesses.sign_in_as(self.command(company, why), self.account(company))

    def _offering(self, company: Company, offerings: list[ProviderOffering], reason: str) -> Callable[[], object]:
        return lambda: self.perform(self.ask_offerings(company, offerings, reason))

    def _stating(self, ask: Callable[..., Operation], company: Company, reason: str) -> Callable[[], object]:
        return lambda: self.perform(self.ask_state(ask, company, reason))


QUIET_NOTES = (
    "Quarterly call: satisfied, no changes.",
    "New contact from next month. Will send the details.",
    "Asked for help with SPF and DKIM. Sent the guide.",
    "Wants one invoice for both brands. Forwarded to finance.",
    "Planning a sale in the last week of the month.",
)
SUSPEND_REASONS = (
    "Invoice 20533 unpaid for 60 days.",
    "Spam-trap hits reported. Suspended until the list is cleaned.",
    "Asked us to stop sending while they change agencies.",
)
