"""What is there before a world begins, and what people ask in it: one line for each kind of operation."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any
from uuid import uuid4

from customers.accounts.sending import checks as sending_checks
from customers.connections import catalogue
from customers.models import Account, AccountKey, Connection, Customer, Operation
from customers.observed import accounts as observed_accounts
from customers.operations import commands as operation_commands
from customers.operations.commands import FirstKey
from portal.commands import Command
from portal.providers import AccountSettings, NewKey, Profile, ProviderOffering
from portal.refusals import Refusal
from tests.simulation.world import World, replaced

PACKAGE = ProviderOffering("postkeeper.ei.pro-100k.v1", "package", 1)
BIGGER = ProviderOffering("postkeeper.ei.pro-300k.v1", "package", 1)
ADDON = ProviderOffering("postkeeper.x.ip.v2", "addon", 1)
KEY = NewKey("web shop", ("messages:send:all", "domains:read", "domains:write", "messages:read:all"))
OTHER_KEY = NewKey("newsletter", ("messages:send:all",))
DOMAIN = "mail.larkfield.example"
SENDGRID = ("create", "offerings", "suspend", "unsuspend", "delete")
AHASEND = (
    "create", "settings", "suspend", "unsuspend", "delete", "key_create", "key_update", "key_delete", "domain_add",
    "test_message",
)  # fmt: skip
KINDS = [("sendgrid", kind) for kind in SENDGRID] + [("ahasend", kind) for kind in AHASEND]


def furnish(world: World) -> None:
    """Two accounts at each provider, one of them suspended; an active one has keys, and a domain that is verified."""
    catalogue.refresh_catalogue(Command(None, world.now), connection=connection("sendgrid"))
    for provider in ("sendgrid", "ahasend"):
        for name in ("larkfield", "fernhill"):
            create(world, provider, name)
            _settle(world)
        ask(world, "suspend", account(provider, "fernhill"))
        _settle(world)
    larkfield = account("ahasend", "larkfield")
    ask(world, "key_create", larkfield, new=KEY, keep=True)
    _settle(world)
    ask(world, "key_create", larkfield, new=OTHER_KEY, keep=False)
    _settle(world)
    world.admin.aha.add_domain(str(larkfield.provider_id), DOMAIN, verified=True)
    with replaced((sending_checks, "client_for", lambda connection, **_: world.connect(connection))):
        sending_checks.read_domains(account=larkfield, now=world.now)
    for each in Account.objects.all():
        observed_accounts.read_account(account=each, now=world.now, provider=world.connect(each.connection))
    assert not Operation.objects.exclude(state="succeeded").exists()


def _settle(world: World) -> None:
    while world.round():
        world.shift(1)


def connection(provider: str) -> Connection:
    return Connection.objects.get(kind=provider)


def account(provider: str, name: str) -> Account:
    found = Account.objects.select_related("connection", "customer")
    return found.get(connection__kind=provider, customer__company_name=name)


def create(world: World, provider: str, name: str, *, first_key: bool = False, email: str = "") -> Operation:
    customer = Customer.objects.create(company_name=name, email=f"ops@{name}.example")
    sendgrid = provider == "sendgrid"
    return operation_commands.request_create(
        Command(world.person(), world.now, token=uuid4().hex),
        customer=customer,
        connection=connection(provider),
        profile=Profile(email=(email or f"ops@{name}.example") if sendgrid else ""),
        offerings=[PACKAGE, ADDON] if sendgrid else [],
        settings=None if sendgrid else AccountSettings(name, f"{name}.example", 0),
        first_key=FirstKey(KEY) if first_key and not sendgrid else None,
        is_test=False,
    )


def ask(world: World, kind: str, to: Account, **more: Any) -> Operation:
    request: Callable[..., Operation] = getattr(operation_commands, f"request_{kind}")
    command = Command(world.person(), world.now, reason="Asked in a test.", token=uuid4().hex)
    return request(command, account=to, **more)


def ask_any(world: World, provider: str, kind: str, chance: Random) -> Operation | None:
    """Ask for an operation of this kind about an account that it fits; None where the portal refuses it."""
    try:
        return _ask_any(world, provider, kind, chance)
    except Refusal:
        return None


def _ask_any(world: World, provider: str, kind: str, chance: Random) -> Operation | None:
    if kind == "create":
        n = chance.randrange(10**6)
        address = f"ops@c{n}.xn--mller-idn-q9a.example" if n % 2 else ""
        return create(world, provider, f"c{n}", email=address, first_key=chance.random() < 0.7)
    to = account(provider, "fernhill" if kind == "unsuspend" else "larkfield")
    key = AccountKey.objects.filter(account=to, label__startswith=OTHER_KEY.label).first()
    match kind:
        case "offerings":
            wanted = chance.choice(([BIGGER], [BIGGER, ADDON], [PACKAGE]))
            base = [ProviderOffering(**row) for row in to.offerings or []]
            return ask(world, kind, to, base=base, version=to.version, offerings=wanted)
        case "settings":
            changes: dict[str, Any] = {
                "monthly_cap": chance.choice((1000, 2000)),
                "name": f"Larkfield {chance.randrange(9)}",
            }
            return ask(world, kind, to, base=to.settings or {}, version=to.version, changes=changes)
        case "key_create":
            return ask(world, kind, to, new=NewKey(f"new {chance.randrange(99)}", KEY.scopes), keep=False)
        case "key_update":
            changes = {"scopes": ["messages:send:all", "domains:read"]}
            return ask(world, kind, to, key_id=key.key_id, changes=changes) if key else None
        case "key_delete":
            return ask(world, kind, to, key_id=key.key_id) if key else None
        case "domain_add":
            return ask(world, "domain", to, name=f"m{chance.randrange(99)}.larkfield.example")
        case "test_message":
            return ask(world, kind, to, sender=f"hello@{DOMAIN}", recipient="ann@larkfield.example")
    return ask(world, kind, to)
