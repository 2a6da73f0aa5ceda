"""Rows for tests, valid as the database wants them and plain enough to read. Nothing here speaks to a provider."""

from __future__ import annotations

import uuid
from datetime import timedelta

import factory
from django.utils import timezone

from customers.models import Account, Connection, Customer, Offering, Operation
from customers.models.operation_states import BUSY, FINAL, OperationState
from portal import encryption
from portal.access.models import CustomRole, User

PASSWORD = "a long test password"
PACKAGE, SMALLER, ADDON = "postkeeper.ei.pro-100k.v1", "postkeeper.ei.free-100.v1", "postkeeper.x.ip.v2"
PACKAGE_ROW = {"name": PACKAGE, "type": "package", "quantity": 1}


class UserFactory(factory.django.DjangoModelFactory):
    class Meta:
        model = User
        skip_postgeneration_save = True

    email = factory.Sequence(lambda n: f"person{n}@postkeeper.example")
    name = factory.Sequence(lambda n: f"Person {n}")
    role = "customer_success"
    password = factory.django.Password(PASSWORD)


class CustomRoleFactory(factory.django.DjangoModelFactory):
    """A role with the permissions given; `UserFactory(role="custom", custom_role=...)` has it."""

    class Meta:
        model = CustomRole

    name = factory.Sequence(lambda n: f"Role {n}")
    permissions = factory.LazyFunction(lambda: ["view"])
    created_by = factory.SubFactory(UserFactory, role="admin")
    created_at = factory.LazyFunction(timezone.now)


class ConnectionFactory(factory.django.DjangoModelFactory):
    class Meta:
        model = Connection

    public_id = factory.LazyFunction(uuid.uuid4)
    name = factory.Sequence(lambda n: f"SendGrid {n}")
    kind = "sendgrid"
    base_url = "https://api.sendgrid.com"
    api_key_sealed = factory.LazyAttribute(
        lambda row: encryption.encrypt("SG.test.key-of-a-test", context=f"customers.connection:{row.public_id}:api_key")
    )
    api_key_last4 = "test"
    probe_available = True
    verified_at = factory.LazyFunction(timezone.now)
    catalogue_read_at = factory.LazyFunction(timezone.now)
    last_answer_at = factory.LazyFunction(timezone.now)


class OfferingFactory(factory.django.DjangoModelFactory):
    class Meta:
        model = Offering

    connection = factory.SubFactory(ConnectionFactory)
    name = PACKAGE
    type = "package"
    entitlements = factory.LazyFunction(
        lambda: {
            "email_sends_max_monthly": 100_000,
            "ip_count": 1,
            "teammates_max_total": 100,
            "users_max_total": 15,
        }
    )
    first_seen_at = factory.LazyFunction(timezone.now)
    last_seen_at = factory.LazyFunction(timezone.now)


class CustomerFactory(factory.django.DjangoModelFactory):
    class Meta:
        model = Customer

    company_name = factory.Sequence(lambda n: f"Company {n:04}")
    email = factory.Sequence(lambda n: f"ops{n}@company.example")
    owner = None


class AccountFactory(factory.django.DjangoModelFactory):
    """Active and read a moment ago; `pending=True` for one the provider has not made yet."""

    class Meta:
        model = Account

    class Params:
        pending = factory.Trait(
            provider_id=None, state="pending", state_raw="", state_read_at=None, offerings=None,
            offerings_read_at=None, usage_used=None, usage_allowed=None, usage_overage=None, usage_start_on=None,
            usage_end_on=None, usage_read_at=None, changed_what="Creation requested",
        )  # fmt: skip

    customer = factory.SubFactory(CustomerFactory, may_be_bare=False)
    connection = factory.SubFactory(ConnectionFactory)
    provider_id = factory.LazyFunction(lambda: f"sg{uuid.uuid4().hex}")
    email = factory.SelfAttribute("customer.email")
    desired_offerings = factory.LazyFunction(lambda: [dict(PACKAGE_ROW)])
    state = "active"
    state_raw = "activated"
    state_read_at = factory.LazyFunction(timezone.now)
    offerings = factory.LazyFunction(lambda: [dict(PACKAGE_ROW)])
    offerings_read_at = factory.LazyFunction(timezone.now)
    package = PACKAGE
    usage_used = 41_238
    usage_allowed = 100_000
    usage_overage = 0
    usage_start_on = factory.LazyFunction(lambda: timezone.now().date().replace(day=1))
    usage_end_on = factory.LazyFunction(lambda: timezone.now().date().replace(day=28))
    usage_read_at = factory.LazyFunction(timezone.now)
    changed_at = factory.LazyFunction(timezone.now)
    changed_what = "State updated: activated"


def _payload(row: factory.builder.Resolver) -> dict[str, object]:
    if row.kind == "create":
        return {
            "profile": {"email": row.account.email},
            "offerings": row.account.desired_offerings,
            "is_test": False,
        }
    if row.kind == "offerings":
        return {"offerings": row.account.desired_offerings, "base": row.account.offerings or []}
    return {"without_reading": False} if row.kind == "delete" else {}


class OperationFactory(factory.django.DjangoModelFactory):
    """In any state: the columns the database ties to a state (lane, finished_at) follow it."""

    class Meta:
        model = Operation

    kind = "suspend"
    account = factory.SubFactory(AccountFactory)
    connection = factory.SelfAttribute("account.connection")
    number = factory.LazyAttribute(lambda row: row.account.next_operation_number())
    payload = factory.LazyAttribute(_payload)
    version = factory.SelfAttribute("account.version")
    reason = "Asked for in a test."
    requested_by = factory.SubFactory(UserFactory)
    client_token = factory.LazyFunction(lambda: uuid.uuid4().hex)
    state = OperationState.QUEUED
    concurrency_key = factory.LazyAttribute(lambda row: f"account:{row.account.pk}" if row.state in BUSY else "")
    identity = factory.LazyAttribute(lambda row: row.account.email.casefold() if row.kind == "create" else "")
    not_before = factory.LazyFunction(timezone.now)
    created_at = factory.LazyFunction(timezone.now)
    unknown_at = factory.LazyAttribute(lambda row: row.created_at if row.state == OperationState.UNKNOWN else None)
    finished_at = factory.LazyAttribute(
        lambda row: row.created_at + timedelta(seconds=3) if row.state in FINAL else None
    )
