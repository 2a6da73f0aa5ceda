"""Find what the audit page shows as a code although the product has words for it."""

from __future__ import annotations

import re
from collections.abc import Iterator

from customers.models import ChangeSet
from customers.models.account import AccountState
from customers.models.operation_states import OperationKind, OperationState
from portal.access.roles import Role
from portal.audit.models import AuditEvent
from portal.audit.queries import entry_of

# They look like codes and are the providers' own: scopes of keys, and IDs that their consoles show as well.
OF_PROVIDERS = re.compile(r"API key ID|Provider account ID|Parent account ID|Scopes|Replaces API key")
HASHES = re.compile(r"SHA-256|Hash of|Head of")
CODES = {
    str(value)
    for choices in (AccountState, OperationState, OperationKind, ChangeSet.Kind, Role)
    for value in choices
    if str(value) != str(value.label).lower()
}
RAW = (
    re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b"),
    re.compile(r"\b\d{4}-\d\d-\d\d([T ]\d\d:\d\d|$)"),
    re.compile(r"^[a-z]+(_[a-z]+)+$"),
    re.compile(r"\b(True|False|None)\b"),
    re.compile(r"\b[a-z]+\.[a-z]+\.[a-z0-9.-]+\.v\d+\b"),
    re.compile(r"[{}\[\]]"),
)


def raw_codes(event: AuditEvent) -> Iterator[str]:
    """Yield "verb: label: value" of each value, label and object that is shown as a code."""
    entry = entry_of(event)
    for each in entry.differences:
        if OF_PROVIDERS.search(each.label) or HASHES.search(each.label):
            continue
        for text in (each.label, each.before, each.after):
            if text in CODES or any(form.search(text) for form in RAW):
                yield f"{event.verb}: {each.label}: {text}"
    if entry.about in CODES or any(form.search(entry.about) for form in RAW):
        yield f"{event.verb}: {entry.about_kind}: {entry.about}"
