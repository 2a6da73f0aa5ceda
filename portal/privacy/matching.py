"""Words of a person in stored values: found in any case and spelling, and replaced by a pseudonym.

A value is text, JSON, or bytes. A word counts as a whole one: "ann@x.example" is not in "joann@x.example". It is also
found as URLs, JSON and HTML write it, and at the end of a long text where it was cut off.
"""

from __future__ import annotations

import gzip
import html
import json
import re
import unicodedata
import zlib
from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import Any
from urllib.parse import quote, quote_plus

from portal.texts import Text
from portal.whole_words import whole_words

# Shorter runs of letters select too much to be a filter.
_LEAST_RUN = 2
_RUN = re.compile(r"[A-Za-z0-9]+")
# A run that is long enough to be the filter although a later one is longer, and texts that may have been cut off.
_GOOD_RUN, _CUT_FROM = 3, 60


class Words:
    """Words with their replacements. `forms` are the words in every form in which they are found."""

    def __init__(self, replacements: dict[str, str]) -> None:
        self._by_form: dict[str, str] = {}
        self.forms: set[str] = set()
        for word, replacement in replacements.items():
            for form, written in _forms(word, replacement):
                self.forms |= {form, form.casefold()}  # "ß" and "ss" are the same letters, but not in a pattern
                self._by_form.setdefault(form.casefold(), written)
        self._replacements = replacements
        self.anchors = _anchors(replacements)

    def __bool__(self) -> bool:
        return bool(self._by_form)

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        return whole_words(self.forms)

    def found_in(self, value: Any) -> bool:
        return any(self._pattern.search(text) or self.cut_off(text)[0] for text in texts_of(value))

    def cut_words(self, value: Any) -> set[str]:
        """Return the beginnings of words with which texts in the value end, as they are written there."""
        return {cut for text in texts_of(value) if (cut := self.cut_off(text)[0])}

    def cut_off(self, text: str) -> tuple[str, str]:
        """Return the beginning of a word with which a long text ends, and what replaces it; empty if there is none."""
        if len(text) < _CUT_FROM:
            return "", ""
        end = text.rstrip("…")
        for word, replacement in self._replacements.items():
            least = _anchor(word)[1] + 2
            if cut := _cut_at_end(end, word, least) or _cut_at_end(end, word.casefold(), least):
                return cut, replacement
        return "", ""

    def replaced(self, value: Any) -> Any:
        """Return the value with every word replaced; keys of JSON too."""
        if isinstance(value, Text):
            return Text(value.code, self.replaced(value.params))
        if isinstance(value, str):
            whole = self._pattern.sub(self._replacement, value)
            cut, replacement = self.cut_off(whole)
            return whole if not cut else whole[: whole.rindex(cut)] + replacement
        if isinstance(value, dict):
            return {self.replaced(key): self.replaced(each) for key, each in value.items()}
        if isinstance(value, list | tuple):
            return [self.replaced(each) for each in value]
        return value

    def _replacement(self, match: re.Match[str]) -> str:
        return self._by_form.get(" ".join(match[0].split()).casefold(), "[erased]")


def _cut_at_end(text: str, word: str, least: int) -> str:
    """Return the beginning of a word with which a text ends, as it is written there; "" if it has less than `least`
    letters."""
    for length in range(len(word) - 1, least - 1, -1):
        if text[-length:].casefold() == word[:length].casefold():
            before = text[: len(text) - length][-1:]
            if not (before.isalnum() or (before in tuple(".+-_") and "@" in word)):
                return text[len(text) - length :]
    return ""


def texts_of(value: Any) -> Iterator[str]:
    """Yield the texts in a value: keys and items of JSON, and what is in a compressed file."""
    if isinstance(value, Text):
        yield from texts_of(value.params)
    elif isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, each in value.items():
            yield str(key)
            yield from texts_of(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from texts_of(each)
    elif isinstance(value, bytes | memoryview):
        yield _unpacked(bytes(value)).decode("utf-8", "replace")


def _unpacked(content: bytes) -> bytes:
    try:
        return gzip.decompress(content)
    except (OSError, EOFError, zlib.error):
        return content


def _forms(word: str, replacement: str) -> Iterator[tuple[str, str]]:
    """Yield each form of a word with its replacement in the same form."""
    for spelled in {unicodedata.normalize(form, word) for form in ("NFC", "NFD")}:
        yield spelled, replacement
        yield json.dumps(spelled)[1:-1], replacement
        for escaped in _escaped(spelled):
            yield escaped, replacement
        for safe in ("", "!'()*"):  # as Python and as JavaScript write them
            yield quote(spelled, safe=safe), quote(replacement, safe=safe)
        yield quote_plus(spelled), quote_plus(replacement)


def _escaped(word: str) -> set[str]:
    """Return a word as HTML and XML write it, with letters as numbers as well."""
    escaped = html.escape(word)
    written = {escaped, *(escaped.replace("&#x27;", other) for other in ("'", "&#39;", "&apos;"))}
    return written | {each.encode("ascii", "xmlcharrefreplace").decode() for each in written}


def _anchors(words: Iterable[str]) -> tuple[str, ...] | None:
    """Return for each word a run of plain letters that every form of it contains; None if a word has no such run, so
    that no filter of the database can find it."""
    runs = [_anchor(word)[0] for word in words]
    return tuple(sorted(set(runs))) if all(len(run) >= _LEAST_RUN for run in runs) else None


def _anchor(word: str) -> tuple[str, int]:
    """Return the first run of plain letters that is long enough, or the longest, and where it ends."""
    runs = list(_RUN.finditer(word))
    found = next((run for run in runs if len(run[0]) >= _GOOD_RUN), None) or max(
        runs, key=lambda run: len(run[0]), default=None
    )
    return (found[0], found.end()) if found else ("", len(word))
