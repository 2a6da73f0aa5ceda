"""The subject of an export or erasure: a contact of customers, or a team member, as the words that name them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from portal.access.models import User
from portal.email_addresses import spellings
from portal.personal_data import known_contact
from portal.typed_text import comparable


@dataclass(frozen=True)
class Subject:
    """`addresses` are email addresses in every spelling and `names` full names and phone numbers: they count in every
    row. `names_alone` count in rows of `customers` and of the team member `user` only, because others have them too."""

    addresses: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    names_alone: tuple[str, ...] = ()
    customers: tuple[int, ...] = ()
    user: User | None = None

    @property
    def title(self) -> str:
        """The word by which a person at the page confirms whom they mean."""
        return next(iter((*self.addresses, *self.names)), "")

    @property
    def words(self) -> tuple[str, ...]:
        return (*self.addresses, *self.names)

    def as_text(self) -> str:
        facts: dict[str, Any] = {
            "addresses": self.addresses,
            "names": self.names,
            "names_alone": self.names_alone,
            "customers": self.customers,
        }
        return json.dumps(facts)


def subject_from_text(text: str, user: User | None) -> Subject:
    facts = json.loads(text) if text else {}
    return Subject(**{name: tuple(values) for name, values in facts.items()}, user=user)


@dataclass
class _Words:
    addresses: list[str] = field(default_factory=list)
    names: list[str] = field(default_factory=list)

    def add(self, word: str) -> None:
        word = comparable(word)
        if "@" in word:
            self.addresses += spellings(word)
        elif len(word) > 1:
            self.names.append(word)


def contact_subject(email: str, others: Iterable[str] = ()) -> Subject:
    """Return the contact with an email address, and with other names and addresses that a person entered."""
    words = _words([email, *others])
    known = known_contact(words.addresses)
    return Subject(
        _distinct(words.addresses),
        _distinct([*words.names, *sorted(known.names)]),
        _distinct(sorted(known.names_alone)),
        tuple(sorted(known.customers)),
    )


def member_subject(user: User, others: Iterable[str] = ()) -> Subject:
    """Return a team member. A name of one word ("Finance") is too common to be replaced everywhere."""
    words = _words([user.email, *others])
    alone = [] if " " in user.name else [user.name]
    names = words.names + ([user.name] if " " in user.name else [])
    return Subject(_distinct(words.addresses), _distinct(names), _distinct(alone), (), user)


def _words(typed: Iterable[str]) -> _Words:
    words = _Words()
    for each in typed:
        words.add(each)
    return words


def _distinct(words: Iterable[str]) -> tuple[str, ...]:
    return tuple({each.casefold(): each for each in words if each}.values())
