"""Hostile inputs with a marker each, for every place of every route, and a judge of what the answers do with them.

A marker may stand in the text of a page and in ordinary attributes. It may not become a tag, an attribute, a script,
an address of another host, a header, or the result of a calculation.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from urllib.parse import quote, urlsplit

from tests.house.hostile import FORM, HEADERS, SHAPES, VALUES, Attempt, Reply, Target, World

# `@` is the marker. A payload that comes back as it was sent is unescaped where it has one of < " '.
PAYLOADS = (
    '"><script id=@>alert(1)</script>', "'><img src=x onerror=@>", "<svg onload=@>", "</textarea><b id=@>", "<!--@--><i id=@>",
    "</title><script>@</script>", '" onfocus=@ autofocus x="', "' onmouseover=@ x='", "` onclick=@ x=`", "<@ x>",
    "javascript:@", "JaVaScRiPt:@//", "\tjavascript:@", "data:text/html,<script>@</script>", "vbscript:@",
    "//@.example/", "https://@.example/", "/\\@.example/", "https:@.example", "http://testserver@@.example/",
    "{{7*7}}@", "@{{7*7}}@", "${7*7}@", "<%= 7*7 %>@", "{% debug %}@", "#{7*7}@", "{{request.user.password}}@",
    "' OR '1'='1@", "@'; DROP TABLE portal;--", "1) UNION SELECT 1,2,'@'--", "%' AND 1=CAST('@' AS int)--", "@\\'\"",
    "@\r\nX-Injected: @", "%0d%0aX-Injected:%20@", "@\nSet-Cookie: injected=@", "\u560d\u560aX-Injected: @",
    "../../../../../etc/passwd\x00@", "..%2f..%2f..%2fetc%2fpasswd@", "/etc/passwd@", "..\\..\\@", "file:///etc/passwd#@",
    "@\x00<b id=@>", "@\ud800", "\u202e<b id=@>", "\ufeff<b id=@>@", "+ADw-script id=@+AD4-", "\xbc@\xbe", "\uff1cscript id=@\uff1e",
    "&lt;script id=@&gt;", "%3Cscript%20id=@%3E", "%253Cscript%2520id=@%253E", "\\u003cscript id=@\\u003e",
    '{"a": "<b id=@>"}', '["<b id=@>", null]', "=cmd|' /C @'!A0", "=1+1@", "9" * 400 + "@", "x" * 5_000 + "<b id=@>",
    "0001-01-01@", "9999-12-31T23:59:59Z@", "-1@", "1e309@", "NaN@", "$ne@", "@[]", "a@ <b id=@>@host.example",
)  # fmt: skip
METHODS = ("HEAD", "OPTIONS", "PUT", "PATCH", "DELETE", "TRACE", "PROPFIND", "POST", "GET")
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


@dataclass(frozen=True)
class Place:
    """Where an input goes: `kind` is query, field, path, header, cookie, method, or word (a name that no view knows)."""

    target: Target
    kind: str
    name: str


def places(world: World) -> tuple[list[Place], list[Place]]:
    """Return every place of every route, those of headers and cookies apart: a request has room for one of each."""
    plain, of_headers = [], []
    for target in world.targets:
        for kind, names in (
            ("query", target.words | {"q", "page"}),
            ("field", target.fields | {"q"}),
            ("path", {str(each) for each in world.texts.values() if f"/{each}/" in target.url}),
            ("method", set(METHODS)),
            ("word", {"query", "field"}),
        ):
            plain += [Place(target, kind, name) for name in sorted(names - {"csrfmiddlewaretoken"})]
        of_headers += [Place(target, "header", name) for name in HEADERS if name != "HTTP_COOKIE"]
        of_headers += [Place(target, "cookie", name) for name in COOKIES]
    return plain, of_headers


@dataclass(frozen=True)
class Input:
    """One request: an input at a place, another in a header, with a marker each."""

    attempt: Attempt
    markers: tuple[str, str]
    values: tuple[str, str]


def inputs(world: World, rng: random.Random) -> Iterator[Input]:
    """Yield requests until every place had an input, in an order of its own for each seed; then again."""
    plain, of_headers = places(world)
    while True:
        rng.shuffle(plain)
        rng.shuffle(of_headers)
        headers = {}
        for each in of_headers:
            headers.setdefault(each.target.url, []).append(each)
        rest = [each for found in headers.values() for each in found]
        for place in plain:
            mine = headers[place.target.url]
            yield _input(world, rng, place, mine.pop() if mine else rng.choice(rest))
        for place in [each for found in headers.values() for each in found]:
            yield _input(world, rng, Place(place.target, "method", rng.choice(("GET", "POST"))), place)


def _value(rng: random.Random) -> tuple[str, str]:
    """Return a marker and a value that holds it; a value without one can still be an error."""
    marker = f"zq{rng.getrandbits(48):012x}qz"
    value = rng.choice(VALUES) if rng.random() < 0.15 else rng.choice(PAYLOADS).replace("@", marker)
    return marker, value


def _input(world: World, rng: random.Random, place: Place, header: Place) -> Input:
    (marker, value), (second, other) = _value(rng), _value(rng)
    who = rng.choice([*world.cookies, *["admin"] * 6])
    target, query, method, url = place.target, [], "GET", place.target.url
    body, headers = b"", {"HTTP_HX_REQUEST": "true"} if rng.random() < 0.4 else {}
    if place.kind == "query":
        query = [(place.name, value)]
        method = "POST" if rng.random() < 0.1 else "GET"
    elif place.kind == "path":
        url = url.replace(f"/{place.name}/", f"/{quote(value.encode('utf-8', 'surrogatepass'), safe='')}/")
    elif place.kind == "method":
        query, method = [("q", value)], place.name
    elif place.kind == "word" and place.name == "query":
        query = [(value, value)]
    else:
        name = value if place.kind == "word" else place.name
        sent = {known: list(values) for known, values in target.sent.items()} | {name: [value]}
        sent = {k: [_sendable(each) for each in v] for k, v in ((_sendable(k), v) for k, v in sent.items())}
        method = "POST"
        body, headers["CONTENT_TYPE"] = rng.choice(SHAPES)(rng, sent)
    in_header = other.encode("utf-8", "surrogatepass").decode("latin-1")
    if header.kind == "cookie":
        known = {name: each.value for name, each in world.cookies[who].items()} | {header.name: in_header}
        headers["HTTP_COOKIE"] = "; ".join(f"{name}={each}" for name, each in known.items())
    else:
        headers[header.name] = in_header
    query = [(_sendable(name), _sendable(each)) for name, each in query]
    checked = rng.random() < 0.1
    if method == "POST" and "CONTENT_TYPE" not in headers:
        headers["CONTENT_TYPE"] = FORM
    return Input(Attempt(who, method, url, query, body, headers, checked), (marker, second), (value, other))


def _sendable(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


class Dangers(HTMLParser):
    """What stands in a page where it acts: for each, the marker and the place."""

    def __init__(self, markers: tuple[str, ...]) -> None:
        super().__init__()
        self.markers, self.found, self._script = markers, [], False

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
    return bool(parts.scheme and parts.scheme != "mailto" and parts.scheme != "tel") or text.startswith("//")


def dangers(page: str, markers: tuple[str, ...]) -> list[str]:
    """Return where a marker stands in a page and would act."""
    found = Dangers(markers)
    found.feed(page)
    found.close()
    return found.found


def mistakes(each: Input, reply: Reply) -> list[str]:
    """Return what is wrong with an answer, apart from its status."""
    markers = each.markers
    found = [f"text of an error: {text}" for text in ERRORS if text in reply.page]
    kinds = {name.lower(): value for name, value in reply.headers}
    for name, value in reply.headers:
        if name.lower() == "x-injected" or "\n" in value or "\r" in value:
            found.append(f"header {name}: {value!r}")
        if name.lower() in REDIRECTS and _leads_away(value) and any(marker in value for marker in markers):
            found.append(f"redirect {name}: {value!r}")
    if any("set-cookie" in name.lower() and "injected" in value for name, value in reply.headers):
        found.append("a cookie")
    for marker, value in zip(markers, each.values, strict=True):
        if f"49{marker}" in reply.page or f"{marker}49{marker}" in reply.page:
            found.append(f"calculated: {value!r}")
        if "text/html" in kinds.get("content-type", "text/html"):
            if marker in value and "<" in value and value in reply.page:
                found.append(f"unescaped: {value[:200]!r}")
            found += dangers(reply.page, (marker,)) if marker in reply.page else []
    if reply.page and kinds.get("x-content-type-options") != "nosniff":
        found.append("no nosniff")
    return found
