"""Reading the reports that browsers send: the body of `report-uri`, and that of the Reporting API.

Both are defined by W3C: Content Security Policy Level 3 (5.3, 5.4) and Reporting API (2.3). Anyone can send them, so
nothing in them is believed to be more than text; names of hosts and paths are cut, and everything else is left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, urlsplit

from django.urls import Resolver404, resolve

from portal.access.sessions import browser_family
from portal.input_bounds import read_json_input
from portal.query_params import line

MOST_BYTES = 16 * 1024
MOST_REPORTS = 20  # of one request
CONTENT_TYPES = frozenset({"application/csp-report", "application/reports+json", "application/json"})
UNKNOWN = "unknown"
OTHER = "other"
_EXTENSIONS = frozenset(
    {"chrome-extension", "moz-extension", "safari-extension", "safari-web-extension", "ms-browser-extension"}
)
# What `blockedURL` says instead of an address.
_KEYWORDS = frozenset({"inline", "eval", "wasm-eval", "self", "trusted-types-policy", "trusted-types-sink"})
_DIRECTIVES = frozenset(
    f"{name}-src{part}"
    for name in ("default", "script", "style", "img", "font", "connect", "media", "object", "frame", "child", "worker",
                 "manifest")
    for part in ("", "-elem", "-attr")
) | {"form-action", "frame-ancestors", "base-uri", "require-trusted-types-for", "trusted-types"}  # fmt: skip


class BadReport(ValueError):
    """The body is none that a browser sends."""


@dataclass(frozen=True, slots=True)
class Violation:
    """A kind of violation: what is counted together."""

    directive: str
    blocked: str
    page: str
    browser: str
    is_extension: bool


def violations_of(body: bytes, *, host: str, user_agent: str) -> list[Violation]:
    """Return the violations on pages of `host` that a request reports, at most `MOST_REPORTS`.

    Raises:
        BadReport: The body is too long, is no JSON, or has another form.
    """
    try:
        said = read_json_input(body, longest=MOST_BYTES)
    except ValueError as error:
        raise BadReport from error
    found = [_violation(each, host=host, user_agent=user_agent) for each in _bodies(said)]
    return [each for each in found if each is not None]


def _bodies(said: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(said, dict) and isinstance(said.get("csp-report"), dict):
        yield said["csp-report"]
    elif isinstance(said, list):
        for each in said[:MOST_REPORTS]:
            if isinstance(each, dict) and each.get("type") == "csp-violation" and isinstance(each.get("body"), dict):
                yield each["body"]
    else:
        raise BadReport


def _violation(body: Mapping[str, Any], *, host: str, user_agent: str) -> Violation | None:
    page = _split(_text(body, "documentURL", "document-uri"))
    if page.netloc != host:
        return None
    blocked = _text(body, "blockedURL", "blocked-uri")
    source = _text(body, "sourceFile", "source-file")
    directive = _text(body, "effectiveDirective", "effective-directive", "violated-directive").partition(" ")[0]
    return Violation(
        directive=directive if directive in _DIRECTIVES else OTHER,
        blocked=_blocked(blocked, host),
        page=route_of(page.path),
        browser=browser_family(user_agent) or OTHER,
        is_extension=any(_scheme(each) in _EXTENSIONS for each in (blocked, source)),
    )


def _text(body: Mapping[str, Any], *names: str) -> str:
    return next((value for name in names if isinstance(value := body.get(name), str)), "")


def _split(address: str) -> SplitResult:
    try:
        return urlsplit(address)
    except ValueError:
        return urlsplit("")


def _scheme(address: str) -> str:
    """Return the scheme of an address. Browsers may report the scheme alone."""
    return address.partition(":")[0].lower()


def _blocked(address: str, host: str) -> str:
    """Return host and path; a route of our own host, whose paths may hold a token; or the keyword or the scheme."""
    parts = _split(address)
    if address in _KEYWORDS:
        return address
    if not parts.netloc:
        scheme = line(_scheme(address))[:40]
        return f"{scheme}:" if scheme.replace("-", "").isalnum() else UNKNOWN
    if parts.netloc == host:
        return route_of(parts.path)
    if _scheme(address) in _EXTENSIONS:
        return f"{_scheme(address)}:"
    name = parts.netloc.rpartition("@")[2]
    return line(f"{name}{parts.path}")[:200] or UNKNOWN


def route_of(path: str) -> str:
    """Return the name of the route at a path of ours; a static file by its own path."""
    if path.startswith("/static/"):
        return line(path)[:100]
    try:
        return str(resolve(path).view_name)[:100]
    except Resolver404:
        return UNKNOWN
