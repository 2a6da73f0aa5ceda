"""The pages that say what went wrong: right status, one way on, a number to quote, nothing that helps an attacker."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import pytest
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory

from portal import error_pages as pages
from portal.access.permissions import NotYourRole


def request() -> HttpRequest:
    made = RequestFactory().get("/customers/")
    made.request_id = "c0ffee"  # type: ignore[attr-defined]
    made.user = SimpleNamespace(name="Ada <Moreau>")  # type: ignore[assignment]
    return made


@pytest.mark.parametrize(
    ("view", "status"),
    [
        (pages.bad_request, 400), (pages.forbidden, 403), (pages.csrf_failure, 403), (pages.not_found, 404),
        (pages.too_many_requests, 429), (pages.server_error, 500),
    ],
)  # fmt: skip
def test_each_says_what_happened_and_gives_a_number(view: Callable[..., HttpResponse], status: int) -> None:
    answer = view(request())
    text = answer.content.decode()
    assert answer.status_code == status
    assert text.count("<h1>") == 1
    assert "c0ffee" in text
    assert "Ada" not in text


def test_a_refusal_says_who_may_and_nothing_else_of_its_reason() -> None:
    assert "Required role: Admin or Finance." in pages.forbidden(
        request(), NotYourRole(frozenset({"admin", "finance"}))
    ).content.decode().replace("&#x27;", "'")
    assert "secret" not in pages.forbidden(request(), PermissionDenied("secret of row 7")).content.decode()
    assert "cookie" not in pages.csrf_failure(request(), reason="Referer bad cookie x").content.decode().replace(
        "blocks cookies", ""
    )


def test_the_last_resort_answers_even_when_templates_are_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> str:
        raise RuntimeError("no template")

    monkeypatch.setattr(pages, "render_to_string", broken)
    answer = pages.server_error(request())
    assert answer.status_code == 500
    assert b"Something went wrong" in answer.content
