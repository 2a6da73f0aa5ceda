"""Registry of personal data: for every table, which columns can name a person, and what an erasure does with them.

Each app declares its tables in its module `personal_data`, by `declare`. A test compares the declarations with the
models, so a new column needs a decision; docs/reference/personal-data.md is checked against them. Exports and erasures
(portal/privacy) follow these declarations alone.

Columns that can't hold words need no declaration: numbers, times, booleans, UUIDs, codes with choices, hashes of a
generated column, and foreign keys, which lead to a row with its own declaration.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from django.apps import apps
from django.db.models import Field, GeneratedField, Model
from django.utils.functional import Promise
from django.utils.module_loading import autodiscover_modules

Text = str | Promise
# Column types that hold text of some form.
_WORDS = frozenset({
    "BinaryField", "CharField", "EmailField", "FileField", "FilePathField", "GenericIPAddressField", "IPAddressField",
    "JSONField", "SlugField", "TextField", "URLField",
})  # fmt: skip


@dataclass(frozen=True)
class Declaration:
    """The decision about a table.

    `erased`: columns in which the words of a person are replaced. `kept`: columns that may name a person and stay as
    they are, each with the reason. `plain`: columns that never name one. `secret`: columns that no export contains.

    `name` is the table's name on pages. `why` and `until`: why the data is held, and how long. `of_customer` is the
    lookup from a row to its customer's key, in whose rows a first or last name alone counts as well. `of_user` is the
    lookup to the team member whom the row describes. `removed`: such rows are deleted with the team member's data.
    `append_only`: the database permits the change of an erasure alone (portal.audit.permits). `frozen`: why it refuses
    one of some rows, which then keep the words. `by`: the table is erased by code of its own, as the audit log.
    """

    model: str
    name: Text = ""
    why: Text = ""
    until: Text = ""
    erased: tuple[str, ...] = ()
    kept: Mapping[str, Text] = field(default_factory=dict)
    plain: tuple[str, ...] = ()
    secret: tuple[str, ...] = ()
    of_customer: str = ""
    of_user: str = ""
    removed: bool = False
    append_only: bool = False
    frozen: Text = ""
    by: str = ""

    @property
    def table(self) -> type[Model]:
        return apps.get_model(self.model)

    @property
    def searched(self) -> tuple[str, ...]:
        """The columns in which words are looked for. What a file contains is decided by the one who writes it."""
        columns = self.table._meta
        return tuple(
            name for name in (*self.erased, *self.kept) if columns.get_field(name).get_internal_type() != "BinaryField"
        )

    @property
    def is_personal(self) -> bool:
        return bool(self.erased or self.kept or self.removed)


@dataclass(frozen=True)
class KnownContact:
    """The contact with an email address, as an app knows it: full names, and names alone that count in the rows of
    its customers."""

    names: frozenset[str] = frozenset()
    names_alone: frozenset[str] = frozenset()
    customers: frozenset[int] = frozenset()


_declared: dict[str, Declaration] = {}
_contacts: list[Callable[[Iterable[str]], KnownContact]] = []
_addresses: list[Callable[[], Iterable[str]]] = []
_blockers: list[Callable[[Any], Iterable[str]]] = []


def declare(model: str, **facts: Any) -> None:
    """Declare a table ("customers.Note"); columns are given as names with blanks between them."""
    for name in ("erased", "plain", "secret"):
        if name in facts:
            facts[name] = tuple(facts[name].split())
    _declared[model] = Declaration(model, **facts)


def describes_contacts(find: Callable[[Iterable[str]], KnownContact]) -> None:
    """Register what finds the names and customers of a contact by the spellings of an email address."""
    _contacts.append(find)


def holds_addresses(read: Callable[[], Iterable[str]]) -> None:
    """Register what reads all email addresses of people, by which erased ones are found after a restore."""
    _addresses.append(read)


def blocks_erasure(find: Callable[[Any], Iterable[str]]) -> None:
    """Register what finds reasons why a subject (portal.privacy.subjects) can't be erased now, as sentences."""
    _blockers.append(find)


def known_contact(addresses: Iterable[str]) -> KnownContact:
    spelled = list(addresses)
    found = [find(spelled) for find in _contacts]
    return KnownContact(
        frozenset().union(*(each.names for each in found)),
        frozenset().union(*(each.names_alone for each in found)),
        frozenset().union(*(each.customers for each in found)),
    )


def all_addresses() -> Iterable[str]:
    for read in _addresses:
        yield from read()


def customer_ids(customers: Iterable[int]) -> list[Any]:
    """Return the public IDs of customers, by which audit events name them."""
    tables = [each.table._base_manager for each in _declared.values() if each.of_customer == "pk"]
    return [pk for table in tables for pk in table.filter(pk__in=customers).values_list("public_id", flat=True)]


def reasons_against(subject: Any) -> list[str]:
    return [str(text) for find in _blockers for text in find(subject)]


def declarations() -> list[Declaration]:
    """Return the declarations in the order of their tables' names."""
    return [_declared[name] for name in sorted(_declared)]


def personal_tables() -> list[Declaration]:
    return [each for each in declarations() if each.is_personal]


def can_hold_words(column: Field[Any, Any]) -> bool:
    if isinstance(column, GeneratedField) or column.is_relation or column.choices:
        return False
    return column.get_internal_type() in _WORDS


def undecided() -> list[str]:
    """Return the columns without a decision, and decisions without a column, as sentences."""
    found = []
    models = {each._meta.label: each for each in apps.get_models(include_auto_created=True)}
    for label, model in models.items():
        decision = _declared.get(label, Declaration(label))
        decided = {*decision.erased, *decision.kept, *decision.plain}
        columns = {each.name for each in model._meta.concrete_fields if can_hold_words(each)}
        found += [f"{label}.{name} has no decision" for name in sorted(columns - decided)]
        found += [f"{label}.{name} is decided and can't hold words" for name in sorted(decided - columns)]
        if len(decided) != len(decision.erased) + len(decision.kept) + len(decision.plain):
            found.append(f"{label} decides a column twice")
    found += [f"{label} is declared and no table" for label in sorted(set(_declared) - set(models))]
    return found


def load_declarations() -> None:
    """Import the module `personal_data` of every app."""
    autodiscover_modules("personal_data")
