"""Bounds of XML from outside: looked at by expat, which keeps nothing, before a tree is built of it."""

from __future__ import annotations

from collections.abc import Callable
from xml.parsers import expat

DEEPEST = 64
MOST_ELEMENTS = 200_000


class XmlTooLargeError(ValueError):
    """The document has more elements or is nested deeper than it may, or it declares a document type."""


class _Bounds:
    def __init__(self, deepest: int, most: int, watch: Callable[[str, dict[str, str]], None] | None) -> None:
        self.deepest, self.most, self.watch = deepest, most, watch
        self.depth = self.count = 0

    def start(self, name: str, attributes: dict[str, str]) -> None:
        self.depth += 1
        self.count += 1
        if self.depth > self.deepest or self.count > self.most:
            raise XmlTooLargeError
        if self.watch:
            self.watch(name, attributes)

    def end(self, _name: str) -> None:
        self.depth -= 1


def count_elements(
    body: bytes | str,
    *,
    deepest: int = DEEPEST,
    most: int = MOST_ELEMENTS,
    watch: Callable[[str, dict[str, str]], None] | None = None,
) -> int:
    """Return the number of elements. `watch` gets each element's name and attributes.

    Raises:
        XmlTooLargeError: A bound is exceeded, or there is a document type: its entities could expand to anything.
        ExpatError: It is not XML.
    """
    bounds, parser = _Bounds(deepest, most, watch), expat.ParserCreate()
    parser.StartElementHandler, parser.EndElementHandler = bounds.start, bounds.end
    parser.StartDoctypeDeclHandler = _refuse_doctype
    parser.Parse(body, True)
    return bounds.count


def _refuse_doctype(*_facts: object) -> None:
    raise XmlTooLargeError
