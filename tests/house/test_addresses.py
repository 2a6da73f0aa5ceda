"""Addresses that people mistype, cut in half or try to break: each page reads its words, and none is a server error."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.http import QueryDict
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver, reverse

from portal.access.models import User
from tests.support.people import sign_in

ODD = ("a\x00b", "9" * 40, "-1", "9999-12-31", "0001-01-01", "\u00b2", "%", "00000000-0000-0000-0000-000000000000")


def _pages(resolver: URLResolver, spaces: tuple[str, ...] = ()) -> Iterator[str]:
    """The names of all addresses without arguments."""
    for entry in resolver.url_patterns:
        if isinstance(entry, URLResolver):
            yield from _pages(entry, (*spaces, entry.namespace) if entry.namespace else spaces)
        elif isinstance(entry, URLPattern) and not entry.pattern.converters:
            yield ":".join((*spaces, str(entry.name)))


@pytest.fixture
def words(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The names of the words that a view asked its address for."""
    asked: set[str] = set()

    def listening(method: str) -> None:
        plain = getattr(QueryDict, method)

        def listen(self: QueryDict, name: str, *rest: Any) -> Any:
            asked.add(name)
            return plain(self, name, *rest)

        monkeypatch.setattr(QueryDict, method, listen)

    for method in ("get", "getlist", "__getitem__"):
        listening(method)
    return asked


@pytest.mark.parametrize("odd", ODD)
def test_no_word_of_an_address_is_a_server_error(db: None, words: set[str], odd: str) -> None:
    client = Client(raise_request_exception=False)
    sign_in(client, User.objects.create_user("ada@postkeeper.example", name="Ada", role="admin"))
    tried, broken = set(), []
    for name in _pages(get_resolver()):
        words.clear()
        if client.get(reverse(name)).status_code != 200:
            continue
        for word in sorted(words - {"csrfmiddlewaretoken"}):
            answer = client.get(reverse(name), {word: odd})
            if answer.status_code >= 500:
                broken.append((name, word))
            elif answer.streaming:
                b"".join(answer)  # type: ignore[arg-type]
            tried.add((name, word))
    assert not broken
    assert {("customers:list", "q"), ("audit:list", "verb"), ("access:staff", "q")} <= tried, tried
