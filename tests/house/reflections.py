"""Hostile inputs with a marker each, for every place of every route, and a judge of what the answers do with them.

A marker may stand in the text of a page and in ordinary attributes. It may not become a tag, an attribute, a script,
an address of another host, a header, or the result of a calculation.
"""

from __future__ import annotations

import random
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import quote, urlsplit

from tests.house.hostile import FORM, HEADERS, SHAPES, VALUES, Attempt, Reply, Target, World, _encoded

# `@` is the marker. A payload that comes back as it was sent is unescaped where it has one of < " '.
PAYLOADS = (
    '"><script id=@>alert(1)</script>', "'><img src=x onerror=@>", "<svg onload=@>", "</textarea><b id=@>",
    "<!--@--><i id=@>", "</title><script>@</script>", '" onfocus=@ autofocus x="', "' onmouseover=@ x='",
    "` onclick=@ x=`", "<@ x>", "javascript:@", "JaVaScRiPt:@//", "\tjavascript:@",
    "data:text/html,<script>@</script>", "vbscript:@", "//@.example/", "https://@.example/", "/\\@.example/",
    "https:@.example", "http://testserver@@.example/", "{{7*7}}@", "@{{7*7}}@", "${7*7}@", "<%= 7*7 %>@",
    "{% debug %}@", "#{7*7}@", "{{request.user.password}}@", "' OR '1'='1@", "@'; DROP TABLE portal;--",
    "1) UNION SELECT 1,2,'@'--", "%' AND 1=CAST('@' AS int)--", "@\\'\"", "@\r\nX-Injected: @",
    "%0d%0aX-Injected:%20@", "@\nSet-Cookie: injected=@", "\u560d\u560aX-Injected: @",
    "../../../../../etc/passwd\x00@", "..%2f..%2f..%2fetc%2fpasswd@", "/etc/passwd@", "..\\..\\@",
    "file:/etc/passwd#@", "@\x00<b id=@>", "@\ud800", "\u202e<b id=@>", "\ufeff<b id=@>@", "+ADw-script id=@+AD4-",
    "\xbc@\xbe", "\uff1cscript id=@\uff1e", "&lt;script id=@&gt;", "%3Cscript%20id=@%3E", "%253Cscript%2520id=@%253E",
    "\\u003cscript id=@\\u003e", '{"a": "<b id=@>"}', '["<b id=@>", null]', "=cmd|' /C @'!A0", "=1+1@",
    "9" * 400 + "@", "x" * 5_000 + "<b id=@>", "0001-01-01@", "9999-12-31T23:59:59Z@", "-1@", "1e309@", "NaN@",
    "$ne@", "@[]", "a@ <b id=@>@host.example",
)  # fmt: skip
# Each of them with each route: the permission matrix.
METHODS = (
    "HEAD",
    "OPTIONS",
    "PUT",
    "PATCH",
    "DELETE",
    "TRACE",
    "PROPFIND",
)
COOKIES = ("sessionid", "csrftoken", "messages", "device", "unknown")
REDIRECTS = ("location", "hx-redirect", "hx-location", "hx-push-url", "hx-replace-url", "refresh", "content-location")
ADDRESSES = (
    "href",
    "src",
    "action",
    "formaction",
    "hx-get",
    "hx-post",
    "data",
    "poster",
    "srcset",
    "ping",
    "xlink:href",
)
ERRORS = ("syntax error at or near", "OperationalError", "ProgrammingError", "Traceback (most recent", "root:x:0:")
HOST = "testserver"
DECLARED = tomllib.loads(Path("portal/access/permissions.toml").read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Place:
    """Where an input goes: `kind` is query, field, path, header, cookie, method, or word (an unknown name)."""

    target: Target
    kind: str
    name: str


def places(world: World) -> tuple[list[Place], list[Place]]:
    """Return every place of every route, those of headers and cookies apart."""
    plain, of_headers = [], []
    for target in world.targets:
        for kind, names in (
            ("query", target.words | {"q", "page"} if "GET" in methods(target) else set()),
            ("field", target.fields | {"q"} if "POST" in methods(target) else set()),
            ("path", {str(each) for each in world.texts.values() if f"/{each}/" in target.url}),
            ("method", {"any"}),
            ("word", methods(target)),
        ):
            plain += [Place(target, kind, name) for name in sorted(names - {"csrfmiddlewaretoken"})]
        of_headers += [Place(target, "header", name) for name in HEADERS if name != "HTTP_COOKIE"]
        of_headers += [Place(target, "cookie", name) for name in COOKIES]
    return plain, of_headers


def methods(target: Target) -> set[str]:
    """Return the methods that permissions.toml gives the route."""
    return set(DECLARED["routes"][target.name]) & {"GET", "POST"}


@dataclass(frozen=True)
class Input:
    """One request, and the hostile values in it by their markers."""

    attempt: Attempt
    values: dict[str, str]


def inputs(world: World, rng: random.Random) -> Iterator[Input]:
    """Yield requests until every place had an input, in an order of its own for each seed; then again.

    Two of three hold one input. The third has one in a header as well, which may hide the other.
    """
    while True:
        plain, of_headers = places(world)
        rng.shuffle(plain)
        rng.shuffle(of_headers)
        while plain or of_headers:
            place = plain.pop() if plain and (rng.random() < 0.6 or not of_headers) else None
            header = of_headers.pop() if of_headers and (not place or rng.random() < 0.3) else None
            if place and header:
                header = Place(place.target, header.kind, header.name)
            yield _input(world, rng, place, header)


def _value(rng: random.Random, found: dict[str, str]) -> str:
    """Note and return a value that holds its marker; a few have none, which can still be an error."""
    marker = f"zq{rng.getrandbits(48):012x}qz"
    found[marker] = rng.choice(VALUES) if rng.random() < 0.15 else rng.choice(PAYLOADS).replace("@", marker)
    return found[marker]


def _input(world: World, rng: random.Random, place: Place | None, header: Place | None) -> Input:
    found: dict[str, str] = {}
    target = (place or header).target  # type: ignore[union-attr]  # there is one of them
    who = "admin" if rng.random() < 0.8 else rng.choice([*world.cookies])
    headers = {"HTTP_HX_REQUEST": "true"} if rng.random() < 0.4 else {}
    method, url, query, body = rng.choice(sorted(methods(target)) or ["GET"]), target.url, [], b""
    value = _sendable(_value(rng, found)) if place else ""
    if place is None or place.kind == "method":
        method = rng.choice(METHODS) if place else method
        query = [("q", value)] if place else []
    elif place.kind == "path":
        url = url.replace(f"/{place.name}/", f"/{quote(value, safe='')}/")
    elif place.kind == "query" or place.name == "GET":
        method, query = "GET", [(place.name if place.kind == "query" else value, value)]
    else:
        method = "POST"
        sent = {_sendable(name): [_sendable(each) for each in each] for name, each in target.sent.items()}
        sent[place.name if place.kind == "field" else value] = [value]
        body, headers["CONTENT_TYPE"] = rng.choice(SHAPES)(rng, sent)
    if method == "POST":
        body = body or _encoded(target.sent)
        headers.setdefault("CONTENT_TYPE", FORM)
    if header:
        text = _value(rng, found).encode("utf-8", "surrogatepass").decode("latin-1")
        if header.kind == "cookie":
            known = {name: each.value for name, each in world.cookies[who].items()} | {header.name: text}
            headers["HTTP_COOKIE"] = "; ".join(f"{name}={each}" for name, each in known.items())
        else:
            headers[header.name] = text
    return Input(Attempt(who, method, url, query, body, headers, checked=rng.random() < 0.03), found)


def _sendable(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


class Dangers(HTMLParser):
    """What stands in a page where it acts: for each, the marker and the place."""

    def __init__(self, markers: tuple[str, ...]) -> None:
        super().__init__()
        self.markers, self._script = markers, False
        self.found: list[str] = []

    def _note(self, where: str, text: str) -> None:
        self.found += [f"{where}: {text[:200]!r}" for each in self.markers if each in text.lower()]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._note("a tag", tag)
        given = {name: value or "" for name, value in attrs}
        self._script = tag == "style" or (tag == "script" and given.get("type") != "application/json")
        for name, value in given.items():
            self._note("an attribute's name", name)
            if name.startswith(("on", "hx-on")) or name in ("style", "srcdoc"):
                self._note(name, value)
            elif name == "id" and value.lower() in self.markers:
                self._note("an element", value)
            elif (name in ADDRESSES and _leads_away(value)) or (
                name in ("hx-vals", "hx-headers") and value.strip().startswith(("js:", "javascript:"))
            ):
                self._note(name, value)
            elif tag == "meta" and given.get("http-equiv"):
                self._note("meta", value)

    def handle_data(self, data: str) -> None:
        if self._script:
            self._note("a script", data)

    def handle_endtag(self, tag: str) -> None:
        self._note("a tag", tag)
        self._script = False


def _leads_away(value: str) -> bool:
    """Return whether a browser would leave the portal, or run something, at this address."""
    text = "".join(each for each in value if each > " ").replace("\\", "/").lower()
    try:
        parts = urlsplit(text)
    except ValueError:
        return True
    if parts.scheme in ("http", "https"):
        return parts.netloc != HOST
    return parts.scheme not in ("", "mailto", "tel") or text.startswith("//")


def dangers(page: str, markers: tuple[str, ...]) -> list[str]:
    """Return where a marker stands in a page and would act."""
    found = Dangers(markers)
    found.feed(page)
    found.close()
    return found.found


def mistakes(each: Input, reply: Reply) -> list[str]:
    """Return what is wrong with an answer, apart from its status."""
    found = [f"text of an error: {text}" for text in ERRORS if text in reply.page]
    kinds = {name.lower(): value for name, value in reply.headers}
    for name, value in reply.headers:
        if name.lower() == "x-injected" or "\n" in value or "\r" in value:
            found.append(f"header {name}: {value!r}")
        if name.lower() in REDIRECTS and _leads_away(value) and any(marker in value for marker in each.values):
            found.append(f"redirect {name}: {value!r}")
    if any("set-cookie" in name.lower() and "injected" in value for name, value in reply.headers):
        found.append("a cookie")
    for marker, value in each.values.items():
        if f"49{marker}" in reply.page or f"{marker}49{marker}" in reply.page:
            found.append(f"calculated: {value!r}")
        if "text/html" in kinds.get("content-type", "text/html"):
            if marker in value and "<" in value and value in reply.page:
                found.append(f"unescaped: {value[:200]!r}")
            found += dangers(reply.page, (marker,)) if marker in reply.page else []
    if reply.page and kinds.get("x-content-type-options") != "nosniff":
        found.append("no nosniff")
    return found
