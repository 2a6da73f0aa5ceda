"""Thirty strings that would run in a page, and a portal in which they stand in every text field of every model."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.apps import apps
from django.core.exceptions import ValidationError
from django.db import DatabaseError, connection, models, transaction
from django.urls import NoReverseMatch, get_resolver
from django.utils import timezone

from tests.house.hostile import FORM, Attempt, Reply, World, _routes
from tests.support.append_only import _around

MARK = "zqx"
# What they do is seen in a browser: a variable, a request, a dialog, or an element of the ID `zqx`.
SCRIPTS = (
    "<i id=zqx>", "<script>zqx=1</script>", "<svg onload=zqx=1>", "<img src=x onerror=zqx=1>", "<b onclick=zqx>x",
    "<script>alert('zqx')</script>", '"><script>window.zqx=1</script>', "'><img src=x onerror=window.zqx=1>",
    '" onfocus=window.zqx=1 autofocus x="', "' onmouseover=window.zqx=1 x='",
    "<script src=/zqx-beacon id=zqx></script>", "<img src=/zqx-beacon id=zqx>",
    "<iframe src=/zqx-beacon id=zqx></iframe>", "<iframe srcdoc='<script>parent.zqx=1</script>'></iframe>",
    "<link rel=stylesheet href=/zqx-beacon id=zqx>", "<style>@import '/zqx-beacon'</style>",
    "<object data=/zqx-beacon id=zqx></object>", "<details open ontoggle=window.zqx=1>",
    "<video><source onerror=window.zqx=1></video>", "<body onload=window.zqx=1>",
    "<div hx-get=/zqx-beacon hx-trigger=load id=zqx></div>", "<div hx-on:htmx:load=window.zqx=1></div>",
    "<base href=//zqx.example/>", "<meta http-equiv=refresh content=0;url=/zqx-beacon>",
    "<form action=/zqx-beacon id=zqx><button autofocus>x</form>", "</textarea><script>window.zqx=1</script>",
    "</title><script>window.zqx=1</script>", "--><script>window.zqx=1</script>",
    "</script><script>window.zqx=1</script>", "javascript:window.zqx=1//",
)  # fmt: skip
# Not texts of a person or a provider: names that the code gives, digests, and what is encrypted. A key of a route is
# planted where the address allows it.
OF_THE_CODE = {
    "auth.Permission", "contenttypes.ContentType", "sessions.Session", "access.CacheEntry", "mfa.Authenticator",
    "audit.AuditSeal", "installation.Epoch", "approvals.ApprovalRule", "customers.Heartbeat", "customers.Submission",
    "customers.InvariantCheck", "audit.AuditCheckpoint", "audit.AuditRedaction", "privacy.ErasedSubject",
}  # fmt: skip
NAMES_OF_THE_CODE = {
    "password", "session_key", "role", "permissions", "kind", "state", "timezone", "zone", "locale", "currency",
    "from_currency", "to_currency", "provider_kind", "usage_source", "usage_source_when_suspended", "source", "slot",
    "credential_hash", "payload_hash", "approved_hash", "plan_hash", "prev_hash", "row_hash", "raw_sha256", "sha256",
    "fingerprint", "digest", "inputs", "stamp", "client_token", "concurrency_key", "billed_currency", "base_url",
    "request_id", "subject_type", "verb", "object_type", "basis", "format", "queues", "path",
}  # fmt: skip
IN_ADDRESSES = {"customers.AccountKey.key_id", "customers.KeySecret.key_id", "customers.SendingDomain.name"}
TEXTS = (models.CharField, models.TextField)


def text_fields() -> Iterator[tuple[type[models.Model], models.Field[Any, Any]]]:
    """Yield every field of every model that holds a text of somebody, JSON included."""
    for model in apps.get_models():
        if model._meta.label in OF_THE_CODE or not model._meta.managed:
            continue
        for each in model._meta.concrete_fields:
            free = isinstance(each, (*TEXTS, models.JSONField)) and not each.choices and not each.primary_key
            if free and each.name not in NAMES_OF_THE_CODE and not each.name.endswith("sealed"):
                yield model, each


def fitting(n: int, room: int | None, *, tail: int = 0, without: str = "\0") -> str:
    """Return as many of the strings as fit, from the n-th on; "" if the shortest does not."""
    order = [each for i in range(len(SCRIPTS)) if without not in (each := SCRIPTS[(n + i) % len(SCRIPTS)])]
    found, left = "", (room or 10_000) - tail
    for script in order:
        if len(found) + len(script) <= left:
            found += script
    return found


# Entries of JSON that hold a text whatever it looks like.
WORDS = {
    "name", "label", "message", "email", "company", "website", "title", "text", "reason", "note", "scope",
    "description", "package", "scopes", "ip_allow_list", "tags", "warnings", "detail", "why", "host", "content",
    "account_text",
}  # fmt: skip


def _replaced(value: Any, n: int, name: str = "") -> Any:
    """Return JSON with a string in place of each text: what code compares is in lower case, without blanks."""
    if isinstance(value, dict):
        return {key: _replaced(each, n + i, key) for i, (key, each) in enumerate(value.items())}
    if isinstance(value, list):
        return [_replaced(each, n + i, name) for i, each in enumerate(value)]
    if isinstance(value, str) and value and (name in WORDS or not re.fullmatch(r"[a-z0-9_.:+/-]*", value)):
        return value if re.match(r"\d{4}-\d\d", value) else fitting(n, 200)
    return value


@contextmanager
def past_triggers() -> Iterator[None]:
    """Let tables be changed that are only added to: a planted portal is none that works."""
    off, on = _around(connection)
    with connection.cursor() as cursor:
        for statement in off:
            cursor.execute(statement)
        yield
        for statement in on:
            cursor.execute(statement)


def fill_empty_tables() -> dict[str, str]:
    """Give a row to every table that has none, with the simplest values; return why some stay empty."""
    left, models_left = {}, list(dict.fromkeys(model for model, _ in text_fields()))
    for _again in range(3):  # some need a row of another
        for model in models_left:
            if model._base_manager.exists():
                continue
            try:
                with transaction.atomic():
                    model(**_simplest(model)).save(force_insert=True)
                left.pop(model._meta.label, None)
            except (DatabaseError, LookupError, ValueError, TypeError, ValidationError) as error:
                left[model._meta.label] = str(error).splitlines()[0]
    return left


def _simplest(model: type[models.Model]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for each in model._meta.concrete_fields:
        if each.has_default() or isinstance(each, models.AutoField):
            continue
        if isinstance(each, models.ForeignKey):
            row = each.related_model._base_manager.order_by("pk").first()  # type: ignore[union-attr]  # a model
            if row is None and not each.null:
                raise LookupError(f"no {each.name}")
            values[each.attname] = getattr(row, each.target_field.attname, None)
        elif each.choices:
            values[each.name] = next(key for key, _label in each.flatchoices if key)
        elif not each.null:
            values[each.name] = _simplest_value(each)
    return values


def _simplest_value(each: models.Field[Any, Any]) -> Any:
    kinds: list[tuple[Any, Any]] = [
        (models.DateTimeField, timezone.now()), (models.DateField, timezone.now().date().replace(day=1)),
        (models.BooleanField, False), (models.IntegerField, 1), (models.GenericIPAddressField, "192.0.2.1"),
        (models.JSONField, {"name": "A text", "text": ["Another text"]}),
        (TEXTS, "EUR" if "currency" in each.name else "a text"[: each.max_length]),
    ]  # fmt: skip
    return next((value for kind, value in kinds if isinstance(each, kind)), 1)


def plant(n: int) -> tuple[set[str], dict[str, str]]:
    """Write strings, from the n-th on, into every text field of every row. Return the fields that hold them, and why
    others do not."""
    planted, left = set(), {}
    with past_triggers():
        for number, (model, each) in enumerate(text_fields()):
            name = f"{model._meta.label}.{each.name}"
            try:
                with transaction.atomic():
                    if _fill(model, each, n + number):
                        planted.add(name)
            except DatabaseError as error:
                left[name] = str(error).splitlines()[0]
    return planted, left


def _fill(model: type[models.Model], each: models.Field[Any, Any], n: int) -> bool:
    rows, done, name = model._base_manager.all(), False, f"{model._meta.label}.{each.name}"
    for at, (pk, value) in enumerate(rows.values_list("pk", each.name)):
        if isinstance(each, models.JSONField):
            new = _replaced(value, n)
        else:
            # A name that stands in an address has no slash: the readers of answers see to it.
            new = fitting(n, each.max_length, tail=4, without="/" if name in IN_ADDRESSES else "\0")
            new += str(at) if new else ""
        if new and new != value:
            rows.filter(pk=pk).update(**{each.name: new})
            done = True
    return done


def refresh_keys(world: World) -> None:
    """Take the new names of rows that routes name, as far as an address can."""
    from customers.models import AccountKey, SendingDomain  # noqa: PLC0415  models, after the apps

    world.texts |= {
        "key_id": AccountKey.objects.values_list("key_id", flat=True)[0],
        "name": SendingDomain.objects.values_list("name", flat=True)[0],
    }


def addresses(world: World) -> list[tuple[str, str]]:
    """Return the name and the address of every route."""
    found = []
    for name, pattern, converters in _routes(get_resolver()):
        try:
            found += [(name, url) for url in world._urls(name, pattern, converters)]
        except NoReverseMatch:
            continue  # no row of such a name can have an address
    return found


def answers(world: World) -> Iterator[tuple[str, Reply]]:
    """Yield every page and fragment, and what an empty form is refused with, each with its name."""
    seen: dict[str, int] = defaultdict(int)
    for name, url in addresses(world):
        for method, headers in (("GET", {}), ("GET", {"HTTP_HX_REQUEST": "true"}), ("POST", {"CONTENT_TYPE": FORM})):
            seen[name] += 1
            yield f"{name} {method} {url}", world.send(Attempt("admin", method, url, [], b"", headers))
