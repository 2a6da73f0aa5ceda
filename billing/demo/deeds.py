"""What staff do in the demo's story, through the portal's own commands; and the two connections they do it with."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import uuid4

from billing.demo.cast import EU, GLOBAL, RHYTHMS, Company
from billing.demo.stage import Sandbox, Stage
from customers import catalogue, connecting, observations, operations, people, provisioning
from customers.models import Account, Connection, Customer, Operation
from customers.states import FINAL, OperationKind
from portal.access.models import User
from portal.providers import Offering, Profile, ProviderError

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
# An answer takes a moment; so does a worker.
MOMENT = timedelta(seconds=1.4)


@dataclass
class Staff:
    admin: User
    success: list[User]

    def of(self, company: Company) -> User:
        return self.success[company.number % len(self.success)]


@dataclass
class Deeds:
    """Everything happens at the stage's time, by the person who looks after the customer."""

    stage: Stage
    staff: Staff
    global_key: str
    eu_key: str
    customers: dict[str, Customer] = field(default_factory=dict)

    @property
    def sandbox(self) -> Sandbox:
        return self.stage.sandbox

    # --- The connections ----------------------------------------------------------------------------------------

    def connect(self) -> None:
        both = (GLOBAL, self.global_key, "", "credits"), (EU, self.eu_key, "/eu", "overview_json")
        for name, key, path, source in both:
            connection = connecting.add_connection(
                actor=self.staff.admin,
                facts={
                    "name": name, "kind": "sendgrid", "region": "eu" if path else "global",
                    "base_url": self.sandbox.url + path, "usage_source": source, "requests_per_minute": 60_000,
                },
                api_key=key,
            )  # fmt: skip
            connecting.verify(actor=self.staff.admin, connection=connection, now=self.stage.now())
            catalogue.refresh_catalogue(connection=connection, now=self.stage.now(), actor=self.staff.admin)

    def maintenance(self) -> None:
        connection = Connection.objects.get(name=EU)
        reason = "SendGrid announced maintenance in its EU region."
        connecting.pause(actor=self.staff.admin, connection=connection, reason=reason, now=self.stage.now())
        self.stage.move(self.stage.now() + 2 * HOUR)
        connecting.resume(actor=self.staff.admin, connection=connection)

    def look_at_accounts(self) -> None:
        """State and offerings of all accounts, as workers read them once a day."""
        for account in observations.accounts_to_read(now=self.stage.now()).select_related("connection"):
            try:
                observations.read_account(account=account, now=self.stage.now())
            except ProviderError:
                continue
        for connection in Connection.objects.all():
            catalogue.refresh_when_old(connection=connection, now=self.stage.now())

    def slow_down(self) -> None:
        """The story was read at a pace of its own; from now on the connections keep the provider's."""
        for connection in Connection.objects.all():
            connecting.verify(actor=self.staff.admin, connection=connection, now=self.stage.now())
            connecting.edit_connection(
                actor=self.staff.admin, connection=connection, facts={"requests_per_minute": 600}
            )

    # --- A customer and its account -------------------------------------------------------------------------------

    def open(self, company: Company) -> None:
        """A new customer, and its account unless it has not decided yet."""
        first, last = company.contact.rsplit(" ", 1)
        customer = people.create_customer(
            actor=self.staff.of(company),
            facts={
                "company_name": company.name, "first_name": first, "last_name": last, "email": company.email,
                "phone": company.phone, "website": f"https://www.{company.domain}", "timezone": company.timezone,
                "external_reference": company.reference, "owner": self.staff.of(company), "tags": list(company.tags),
            },
            client_token=uuid4().hex,
            now=self.stage.now(),
        )  # fmt: skip
        self.customers[company.name] = customer
        if company.fate != "prospect":
            self.create_account(company)

    def create_account(self, company: Company) -> None:
        first, last = company.contact.rsplit(" ", 1)
        refused = company.fate == "refused"
        with self._trouble_at_create(company):
            operation = operations.ask_create(
                actor=self.staff.of(company),
                customer=self.customers[company.name],
                connection=Connection.objects.get(name=company.connection),
                profile=Profile(
                    email=company.email, first_name=first, last_name=last, company_name=company.name,
                    phone="020 555" if refused else company.phone, timezone=company.timezone,
                    company_website="www,tinkettle" if refused else f"https://www.{company.domain}",
                ),
                offerings=[Offering(company.offering, "package", 1)],
                is_test=company.fate == "test",
                client_token=uuid4().hex,
                now=self.stage.now(),
            )  # fmt: skip
            self.perform(operation)
        if operation.result.get("account_id"):
            self._send(company)

    def _trouble_at_create(self, company: Company) -> AbstractContextManager[object]:
        if company.fate == "unknown":
            return self.sandbox.fault("create-then-504", count=1)
        if company.fate == "no_username":
            return self.sandbox.fault("status-403", operation="username", email=company.email)
        return nullcontext()

    def perform(self, operation: Operation) -> Operation:
        """Let it go as far as it goes without a person, as workers and the dispatcher would."""
        for _ in range(20):
            self.stage.move(max(operation.not_before, self.stage.now()) + MOMENT)
            provisioning.perform(operation.pk, clock=self.stage.now)
            operation.refresh_from_db()
            if operation.state in FINAL or operation.needs_a_person:
                break
        return operation

    def account(self, company: Company) -> Account:
        return Account.objects.select_related("connection", "customer").get(customer=self.customers[company.name])

    def _send(self, company: Company) -> None:
        self.sandbox.call(
            "PATCH", f"accounts/{self.account(company).provider_id}",
            sending={
                "per_day": company.per_day, "weekday": RHYTHMS[company.rhythm], "jitter": 0.25, "seed": company.seed,
                "growth_per_month": 0.03,
            },
        )  # fmt: skip

    # --- Deeds ----------------------------------------------------------------------------------------------------

    def note(self, company: Company, text: str) -> None:
        people.add_note(actor=self.staff.of(company), customer=self.customers[company.name], text=text)

    def ask_offerings(self, company: Company, offerings: list[Offering], reason: str) -> Operation:
        account = self.account(company)
        return operations.ask_offerings(
            actor=self.staff.of(company), account=account, base=account.wanted_offerings, version=account.version,
            offerings=offerings, reason=reason, client_token=uuid4().hex, now=self.stage.now(),
        )  # fmt: skip

    def ask_state(self, kind: OperationKind, company: Company, reason: str) -> Operation:
        return ASK[kind](
            actor=self.staff.of(company), account=self.account(company), reason=reason, client_token=uuid4().hex,
            now=self.stage.now(),
        )  # fmt: skip


ASK: dict[OperationKind, Callable[..., Operation]] = {
    OperationKind.SUSPEND: operations.ask_suspend,
    OperationKind.UNSUSPEND: operations.ask_unsuspend,
    OperationKind.DELETE: operations.ask_delete,
}
