"""A person whose data is planted, and the help to run a request to its end."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from django.apps import apps
from django.db import connection
from django.utils import timezone

from customers.models import Account, Customer
from portal.access.models import User
from portal.clock import database_now
from portal.commands import Command
from portal.privacy import commands, worker
from portal.privacy.models import SubjectRequest
from tests.support.factories import AccountFactory, UserFactory

EMAIL = "zelda.quux@planted-person.example"
FIRST, LAST, PHONE = "Zeldamira", "Quuxington", "+4955512399"
NAME = f"{FIRST} {LAST}"
# In small letters, what no row may have after the erasure.
TRACES = ("zelda.quux", "zeldamira", "quuxington", "55512399", "planted-person")


def planted_customer(**more: Any) -> Customer:
    facts = {"company_name": "Northwind", "first_name": FIRST, "last_name": LAST, "email": EMAIL, "phone": PHONE}
    return Customer.objects.create(**(facts | more))


def gone_account(customer: Customer | None = None, **more: Any) -> Account:
    """An account of the person that no longer exists at its provider, so that nothing blocks the erasure."""
    return AccountFactory(customer=customer or planted_customer(), state="deleted", desired_state="deleted", **more)


def admin() -> User:
    return User.objects.filter(role="admin", is_active=True).first() or UserFactory(role="admin", name="Ada Admin")


def command(person: User | None = None, *, reason: str = "They asked us to.") -> Command:
    return Command(person or admin(), database_now(), reason=reason)


def searched(email: str = EMAIL, *, kind: str = "contact", others: tuple[str, ...] = ()) -> SubjectRequest:
    return settled(commands.search_person(command(reason=""), kind=kind, email=email, others=others))


def erased(request: SubjectRequest, *, person: User | None = None) -> SubjectRequest:
    typed = request.subject().addresses[0]
    commands.start_erasure(command(person), request=request, typed=typed)
    return settled(request)


def settled(request: SubjectRequest, *, seconds: float = 60.0) -> SubjectRequest:
    """Let workers continue the request until nothing is left to do."""
    for _round in range(2000):
        if not worker.advance(request.pk, now=database_now(), seconds=seconds):
            break
    return SubjectRequest.objects.get(pk=request.pk)


def dumped() -> Iterator[tuple[str, str]]:
    """Yield every value of every column of every table as text, with its place."""
    for model in apps.get_models(include_auto_created=True):
        columns = [each.column for each in model._meta.concrete_fields]
        names = ", ".join(f'"{each}"' for each in columns)
        with connection.cursor() as cursor:
            cursor.execute(f'SELECT {names} FROM "{model._meta.db_table}"')  # noqa: S608  names of models
            for row in cursor.fetchall():
                for column, value in zip(columns, row, strict=True):
                    yield f"{model._meta.label}.{column}", as_text(value)


def as_text(value: Any) -> str:
    if isinstance(value, bytes | memoryview):
        return bytes(value).decode("utf-8", "replace")
    if isinstance(value, str):
        return f"{value} {unescaped(value)}"
    return json.dumps(value, ensure_ascii=False, default=str)


def unescaped(text: str) -> str:
    try:
        return json.dumps(json.loads(text), ensure_ascii=False)
    except ValueError:
        return ""


def traces(*words: str) -> list[str]:
    """Return the places of the database that still have the person's words."""
    wanted = [each.casefold() for each in (words or TRACES)]
    return sorted({place for place, text in dumped() if any(word in text.casefold() for word in wanted)})


def now() -> Any:
    return timezone.now()
