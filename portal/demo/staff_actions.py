"""Actions of staff in the demo, through the portal's own commands, and the connections used."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any
from uuid import uuid4

from customers.accounts.create import commands as create_commands
from customers.connections import catalogue, circuit_breaker
from customers.connections import commands as connection_commands
from customers.connections.client import client_for
from customers.directory import commands as customer_commands
from customers.models import Account, Connection, Customer, Operation
from customers.models.operation_states import FINAL
from customers.observed import accounts as observed_accounts
from customers.operations import commands as operation_commands
from customers.operations import create_search, executor, key_secrets
from customers.operations.commands import FirstKey
from portal.access.models import User
from portal.commands import Command
from portal.demo.clock import DemoClock, Sandbox
from portal.demo.companies import AHA, EU, GLOBAL, Company
from portal.providers import (
    AccountSettings,
    IdempotentBody,
    NewAccount,
    NewKey,
    Profile,
    ProviderError,
    ProviderOffering,
)

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
# Time that an answer, or a worker, takes.
MOMENT = timedelta(seconds=1.4)
FIRST_KEY = NewKey(
    "Website and newsletter", ("messages:send:all", "messages:read:all", "domains:read", "domains:write")
)


@dataclass
class Staff:
    admin: User
    success: list[User]

    def of(self, company: Company) -> User:
        return self.success[company.number % len(self.success)]


@dataclass(frozen=True)
class Keys:
    """Keys accepted by the sandbox."""

    of_global: str = field(repr=False)
    of_eu: str = field(repr=False)
    of_aha: str = field(repr=False)
    aha_account: str

    def connections(self) -> list[tuple[dict[str, Any], str]]:
        """Return each connection's data, with its URL path after the sandbox's, and its key."""
        sendgrid = {"kind": "sendgrid", "usage_source": "credits", "region": "global", "base_url": ""}
        aha = {"kind": "ahasend", "usage_source": "pooled", "account_id": self.aha_account, "keep_keys": True}
        return [
            (sendgrid | {"name": GLOBAL}, self.of_global),
            (sendgrid | {"name": EU, "region": "eu", "base_url": "/eu", "usage_source": "overview_json"}, self.of_eu),
            (aha | {"name": AHA, "base_url": ""}, self.of_aha),
        ]


@dataclass
class StaffActions:
    """Actions at the simulated time, each by the owner of the customer."""

    stage: DemoClock
    staff: Staff
    keys: Keys
    customers: dict[str, Customer] = field(default_factory=dict)

    @property
    def sandbox(self) -> Sandbox:
        return self.stage.sandbox

    # --- The connections ----------------------------------------------------------------------------------------

    def connect(self) -> None:
        for facts, key in self.keys.connections():
            facts |= {"base_url": self.sandbox.url + facts["base_url"], "requests_per_minute": 60_000}
            connection = connection_commands.add_connection(Command(self.staff.admin), facts=facts, api_key=key)
            connection_commands.verify_connection(Command(self.staff.admin, self.stage.now()), connection=connection)
            if connection.capabilities.offerings:
                catalogue.refresh_catalogue(Command(self.staff.admin, self.stage.now()), connection=connection)

    def maintenance(self) -> None:
        connection = Connection.objects.get(name=EU)
        reason = "SendGrid announced maintenance in its EU region."
        connection_commands.pause_connection(
            Command(self.staff.admin, self.stage.now(), reason=reason), connection=connection
        )
        self.stage.move(self.stage.now() + 2 * HOUR)
        connection_commands.resume_connection(Command(self.staff.admin), connection=connection)

    def look_at_accounts(self) -> None:
        """Read state and offerings of all accounts, as workers do once a day."""
        for account in observed_accounts.accounts_to_read(now=self.stage.now()).select_related("connection"):
            try:
                observed_accounts.read_account(account=account, now=self.stage.now())
            except ProviderError:
                continue
        for connection in Connection.objects.all():
            catalogue.refresh_when_old(connection=connection, now=self.stage.now())

    def a_stranger(self) -> None:
        """Create an account in the provider's console, unknown to the portal."""
        self.sandbox.switch("aha_default_sending", {"per_day": 140.0, "jitter": 0.3, "seed": 5})
        provider = client_for(Connection.objects.get(name=AHA))
        new = NewAccount(Profile(email=""), settings=AccountSettings("Internal tests", "tests.postkeeper.example", 0))
        provider.create_account(new, IdempotentBody(uuid4().hex, provider.create_body(new)))

    def try_what_is_out_of_reach(self) -> None:
        """Retry unreachable providers, as the dispatcher does."""
        for connection_id in circuit_breaker.due_connections(now=self.stage.now()):
            circuit_breaker.try_again(connection_id, clock=self.stage.now)

    def forget_secrets(self) -> None:
        """Delete expired secrets, as the dispatcher does."""
        key_secrets.forget_due(now=self.stage.now())

    def slow_down(self) -> None:
        """Set the connections to the provider's rate limit; the demo's past was read without one."""
        for connection in Connection.objects.all():
            connection_commands.verify_connection(Command(self.staff.admin, self.stage.now()), connection=connection)
            connection_commands.edit_connection(
                Command(self.staff.admin), connection=connection, facts={"requests_per_minute": 600}
            )

    # --- A customer and its account -------------------------------------------------------------------------------

    def open(self, company: Company) -> None:
        """Create a customer, and its account unless it is a prospect."""
        first, last = company.contact.rsplit(" ", 1)
        customer = create_commands.create_customer(
            self.command(company),
            facts={
                "company_name": company.name,
                "first_name": first,
                "last_name": last,
                "email": company.email,
                "phone": company.phone,
                "website": f"https://www.{company.domain}",
                "timezone": company.timezone,
                "external_reference": company.reference,
                "owner": self.staff.of(company),
                "tags": list(company.tags),
            },
        )
        self.customers[company.name] = customer
        if company.fate != "prospect":
            self.create_account(company)

    def create_account(self, company: Company) -> None:
        first, last = company.contact.rsplit(" ", 1)
        refused = company.fate == "refused"
        with self._trouble_at_create(company):
            operation = operation_commands.request_create(
                self.command(company),
                customer=self.customers[company.name],
                connection=Connection.objects.get(name=company.connection),
                profile=Profile(
                    email=company.email,
                    first_name=first,
                    last_name=last,
                    company_name=company.name,
                    phone="020 555" if refused else company.phone,
                    timezone=company.timezone,
                    company_website="www,tinkettle" if refused else f"https://www.{company.domain}",
                ),
                offerings=[] if company.settings else [ProviderOffering(company.offering, "package", 1)],
                settings=company.settings,
                first_key=FirstKey(FIRST_KEY, keep=company.fate == "key_kept") if company.settings else None,
                is_test=company.fate == "test",
            )
            self.perform(operation)
        if company.fate == "unknown":
            self._a_twin(company, operation)
        if operation.result.get("account_id") and not company.settings:
            account_id = self.account(company).provider_id
            self.sandbox.call("PATCH", f"accounts/{account_id}", sending=company.sending)

    def _a_twin(self, company: Company, operation: Operation) -> None:
        """Create the same account at the provider at the same time, so that staff have to choose between the two."""
        held = [{"name": company.offering, "type": "package", "quantity": 1}]
        self.sandbox.call("POST", "accounts", email=company.email, offerings=held)
        self.stage.move(self.stage.now() + create_search.SETTLE + MOMENT)
        executor.perform(operation.pk, clock=self.stage.now)

    def _trouble_at_create(self, company: Company) -> AbstractContextManager[object]:
        if company.settings:  # its usage is set beforehand
            self.sandbox.switch("aha_default_sending", company.sending)
        if company.fate == "unknown":
            return self.sandbox.fault("create-then-504", count=1)
        if company.fate == "no_username":
            return self.sandbox.fault("status-403", operation="username", email=company.email)
        return nullcontext()

    def perform(self, operation: Operation) -> Operation:
        """Run the operation until it ends or needs review, as workers and the dispatcher would."""
        for _ in range(20):
            self.stage.move(max(operation.not_before, self.stage.now()) + MOMENT)
            executor.perform(operation.pk, clock=self.stage.now)
            operation.refresh_from_db()
            if operation.state in FINAL or operation.needs_a_person:
                break
        for follower in operation.followers.filter(state="queued"):
            self.perform(follower)
        return operation

    def account(self, company: Company) -> Account:
        return Account.objects.select_related("connection", "customer").get(customer=self.customers[company.name])

    # --- Actions --------------------------------------------------------------------------------------------------

    def note(self, company: Company, text: str) -> None:
        customer_commands.add_note(Command(self.staff.of(company)), customer=self.customers[company.name], text=text)

    def ask_offerings(self, company: Company, offerings: list[ProviderOffering], reason: str) -> Operation:
        account = self.account(company)
        return operation_commands.request_offerings(
            self.command(company, reason),
            account=account,
            base=account.wanted_offerings,
            version=account.version,
            offerings=offerings,
        )

    def ask_cap(self, company: Company, cap: int, reason: str) -> Operation:
        account = self.account(company)
        return operation_commands.request_settings(
            self.command(company, reason),
            account=account,
            base=account.settings or account.desired_settings,
            version=account.version,
            changes={"monthly_cap": cap},
        )

    def rotate_key(self, company: Company) -> Operation:
        """Request a new key that replaces the first one."""
        account = self.account(company)
        first = account.keys.filter(gone_at=None).order_by("made_at").first()
        return operation_commands.request_key_create(
            self.command(company, "Requested after their security audit."),
            account=account,
            new=replace(FIRST_KEY, label="Website (rotated)"),
            keep=False,
            replaces=first.key_id if first else "",
        )

    def ask_state(self, ask: Callable[..., Operation], company: Company, reason: str) -> Operation:
        """Request with `ask` that the account is suspended, sends again, or is deleted."""
        return ask(self.command(company, reason), account=self.account(company))

    def command(self, company: Company, reason: str = "") -> Command:
        return Command(self.staff.of(company), self.stage.now(), reason=reason, token=uuid4().hex)
