"""Reports of browsers: what is counted of them, what is left out, and how many rows they can make."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from portal.browser_reports import commands
from portal.browser_reports.models import BrowserReport
from portal.browser_reports.parsing import MOST_BYTES, MOST_REPORTS, Violation
from portal.browser_reports.retention import RULE
from portal.notices.models import Notice
from tests.support.factories import UserFactory
from tests.support.people import sign_in

pytestmark = pytest.mark.django_db
CHROME = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0 Safari/537.36"
PAGE = "http://testserver/customers/?q=ada%40example.com"


@pytest.fixture
def sender() -> Client:
    return Client(enforce_csrf_checks=True, headers={"User-Agent": CHROME})


def send(sender: Client, body: Any, content_type: str = "application/reports+json") -> int:
    sent = body if isinstance(body, bytes) else json.dumps(body).encode()
    return sender.post("/browser-reports/", sent, content_type=content_type).status_code


def report(**changes: str) -> dict[str, Any]:
    body = {"documentURL": PAGE, "effectiveDirective": "script-src-elem", "blockedURL": "inline", "sample": "secret"}
    return {"type": "csp-violation", "age": 1, "url": PAGE, "user_agent": CHROME, "body": body | changes}


def violation(**changes: Any) -> Violation:
    return Violation(**{"directive": "script-src", "blocked": "inline", "page": "home", "browser": "Firefox",
                        "is_extension": False} | changes)  # fmt: skip


def the_row() -> tuple[str, str, str, str, bool, int]:
    row = BrowserReport.objects.get()
    return (row.directive, row.blocked, row.page, row.browser, row.is_extension, row.count)


def test_reports_of_one_kind_are_one_row(sender: Client) -> None:
    assert send(sender, [report(), report()]) == 204
    assert send(sender, [report(documentURL="http://testserver/customers/?page=2")]) == 204
    assert the_row() == ("script-src-elem", "inline", "customers:list", "Chrome", False, 3)
    row = BrowserReport.objects.get()
    assert row.first_seen_at < row.last_seen_at


def test_the_body_of_report_uri_is_read_as_well(sender: Client) -> None:
    said = {"document-uri": PAGE, "violated-directive": "img-src 'self'", "blocked-uri": "https://x.example/a?b=c"}
    assert send(sender, {"csp-report": said}, "application/csp-report") == 204
    assert the_row() == ("img-src", "x.example/a", "customers:list", "Chrome", False, 1)


@pytest.mark.parametrize(
    ("blocked", "stored"),
    [
        ("eval", "eval"),
        ("data", "data:"),
        ("data:text/html,<b>", "data:"),
        ("https://ada:pw@x.example/path?token=1#part", "x.example/path"),
        ("http://testserver/invitation/a-token/", "accept-invitation"),
        ("http://testserver/static/js/portal.js?v=1", "/static/js/portal.js"),
        ("http://testserver/nothing/here/", "unknown"),
        ("http://[::1", "http:"),
        ("a\x00b\ud800", "ab:"),
        ("https://x.example/" + "y" * 500, "x.example/" + "y" * 190),
        ("", "unknown"),
    ],
)
def test_what_is_stored_of_the_blocked_address(sender: Client, blocked: str, stored: str) -> None:
    assert send(sender, [report(blockedURL=blocked)]) == 204
    assert BrowserReport.objects.get().blocked == stored


@pytest.mark.parametrize("change", [{"blockedURL": "chrome-extension"}, {"blockedURL": "moz-extension://0a1b/c.js"},
                                    {"sourceFile": "safari-web-extension://0A/x.js"}])  # fmt: skip
def test_what_an_extension_causes_is_marked(sender: Client, change: dict[str, str]) -> None:
    send(sender, [report(**change)])
    assert BrowserReport.objects.get().is_extension
    assert not Notice.objects.exists()


def test_pages_of_others_are_not_counted(sender: Client) -> None:
    strange = [report(documentURL=url) for url in ("https://x.example/", "", "http://[", "about:blank")]
    assert send(sender, [*strange, report(type="x") | {"type": "deprecation"}, {"type": "csp-violation"}, 7]) == 204
    assert not BrowserReport.objects.exists()


def test_unknown_words_become_one_kind(sender: Client) -> None:
    sender.defaults["HTTP_USER_AGENT"] = "x" * 300
    send(sender, [report(effectiveDirective=word) for word in ("x-src", "\x00", "script-src'--")])
    assert the_row() == ("other", "inline", "customers:list", "other", False, 3)


@pytest.mark.parametrize(
    "body",
    [b" ", b"{", b"[" * MOST_BYTES, b"\xff", b"7", b"null", b"{}", b"9" * 6_000, b'{"csp-report": []}', b'"x"'],
)
def test_a_body_no_browser_sends_is_refused(sender: Client, body: bytes) -> None:
    assert send(sender, body) == 400


def test_size_and_number_are_bounded(sender: Client) -> None:
    assert send(sender, b" " * (MOST_BYTES + 1)) == 413
    assert send(sender, b"[]" + b" " * (MOST_BYTES - 2)) == 204
    many = [report(blockedURL=f"https://x{n}.example/", sample="") for n in range(MOST_REPORTS + 5)]
    assert send(sender, many) == 204
    assert BrowserReport.objects.count() == MOST_REPORTS
    assert send(sender, [], "text/plain") == 415
    assert sender.post("/browser-reports/", {"a": "b"}).status_code == 415
    assert sender.get("/browser-reports/").status_code == 405


def test_an_address_sends_sixty_requests_a_minute(sender: Client) -> None:
    assert [send(sender, []) for _ in range(61)] == [204] * 60 + [429]


def test_a_report_reads_no_session_and_stores_no_person(sender: Client) -> None:
    sign_in(sender, UserFactory(role="admin"))
    sender.get("/me/")
    answer = sender.post("/browser-reports/", json.dumps([report()]), content_type="application/reports+json")
    assert answer.cookies == {}
    assert "192.0.2" not in str(BrowserReport.objects.values().get())
    assert "secret" not in str(BrowserReport.objects.values().get())


def test_the_number_of_rows_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "MOST_ROWS", 3)
    now = timezone.now()
    commands.count_violations([violation(blocked="old.example")], now=now - timedelta(days=2))
    for name in ("a", "b"):
        commands.count_violations([violation(blocked=name, is_extension=True)], now=now)
    commands.count_violations([violation(blocked="c"), violation(blocked="d")], now=now)
    assert set(BrowserReport.objects.values_list("blocked", flat=True)) == {"old.example", "c", "d"}
    commands.count_violations([violation(blocked="e")], now=now)
    assert set(BrowserReport.objects.values_list("blocked", flat=True)) == {"c", "d", "e"}


def test_admins_are_told_once_until_a_day_is_quiet() -> None:
    now = timezone.now()
    commands.count_violations([violation(), violation(blocked="eval")], now=now)
    notice = Notice.objects.get()
    assert (notice.kind, notice.path) == ("browser_reports", "/engine/browser-reports/")
    commands.end_notice(now=now + timedelta(hours=23))
    assert Notice.objects.get().ended_at is None
    commands.count_violations([violation()], now=now + timedelta(hours=25))  # known
    commands.end_notice(now=now + timedelta(hours=25))
    assert Notice.objects.get().ended_at
    commands.count_violations([violation(blocked="wasm-eval")], now=now + timedelta(hours=26))
    assert Notice.objects.filter(ended_at=None).count() == 1


def test_rows_are_removed_by_their_last_report() -> None:
    now = timezone.now()
    commands.count_violations([violation(), violation(blocked="eval")], now=now - timedelta(days=31))
    commands.count_violations([violation()], now=now)
    assert RULE.remove_batch(now - timedelta(days=30)) == 1
    assert BrowserReport.objects.get().count == 2


def test_the_page_groups_what_was_blocked() -> None:
    client = sign_in(Client(), UserFactory(role="admin"))
    assert "No browser reports" in client.get("/engine/browser-reports/").content.decode()
    now = timezone.now()
    commands.count_violations([violation(blocked="eval", is_extension=True)], now=now)
    commands.count_violations([violation(page=page, browser=name) for page in ("home", "audit:list")
                               for name in ("Chrome", "other")], now=now)  # fmt: skip
    commands.count_violations([violation(blocked="<b>x")], now=now - timedelta(days=1))
    groups = client.get("/engine/browser-reports/").context["groups"]
    assert [(each.blocked_text, each.count, each.page_names, each.browser_names) for each in groups] == [
        ("Inside the page", 4, "audit:list, home", "Chrome, Other"),
        ("<b>x", 1, "home", "Firefox"),
        ("Text run as a script", 1, "home", "Firefox"),
    ]
    text = client.get("/engine/browser-reports/").content.decode()
    assert "&lt;b&gt;x" in text
    assert "Browser extension" in text
    assert "/engine/browser-reports/" in client.get("/engine/").content.decode()
