"""Words of a person in stored values: whole words in any case and form, and nothing else."""

from __future__ import annotations

import gzip
import json
from typing import Any
from urllib.parse import quote, quote_plus

import pytest

from portal import texts
from portal.privacy.matching import Words
from portal.texts import Text

MAIL, NAME = "ann.lee@northwind.example", "Ann Zoë Lee"
PSEUDONYM = {MAIL: "erased-7f3a@erased.invalid", NAME: "Erased person 7F3A"}


@pytest.fixture
def words() -> Words:
    return Words(PSEUDONYM)


FORMS = [
    MAIL,
    MAIL.upper(),
    f"Write to {MAIL}.",
    f"<{MAIL}>",
    f"to={quote(MAIL, safe='')}&x=1",
    NAME,
    NAME.casefold(),
    "Ann Zoe\u0308 Lee",
    json.dumps({"name": NAME}),
    f"name={quote_plus(NAME)}",
    f"name={quote(NAME)}",
    {"email": MAIL},
    {"list": [{"deep": f"x {NAME} y"}]},
    {MAIL: 1},
    "Ann\u00a0 Zoë\nLee",
    f"_{NAME}_",
    "Ann Zo&#235; Lee",
    quote(f"Write to {NAME} <{MAIL}>"),
    quote(f"<{MAIL}>"),
    f"\\u003c{MAIL}\\u003e",
    json.dumps(f"Dear\n{NAME}"),
    gzip.compress(f"a;{MAIL};b".encode(), mtime=0),
]
OTHERS = [
    "joann.lee@northwind.example",
    "ann.lee@northwind.example.org",
    "ann.lee@northwind.examples",
    "x-ann.lee@northwind.example",
    quote("x+ann.lee@northwind.example"),
    "Ann Zoë Leeds",
    "Joann Zoë Lee",
    "Ann",
    "Lee",
    {"email": "other@northwind.example"},
    None,
    17,
]


@pytest.mark.parametrize("value", FORMS)
def test_each_form_of_a_word_is_found(words: Words, value: Any) -> None:
    assert words.found_in(value)


@pytest.mark.parametrize("value", OTHERS)
def test_the_data_of_others_is_not_found(words: Words, value: Any) -> None:
    assert not words.found_in(value)
    assert words.replaced(value) == value


@pytest.mark.parametrize("value", [each for each in FORMS if not isinstance(each, bytes)])
def test_nothing_is_found_after_the_replacement(words: Words, value: Any) -> None:
    replaced = words.replaced(value)
    assert replaced != value
    assert not words.found_in(replaced)
    assert "7f3a" in json.dumps(replaced).lower()


def test_json_stays_json_and_keeps_everything_else(words: Words) -> None:
    value = {"email": MAIL, "n": 3, "ok": True, "none": None, "tags": [NAME, "vip"]}
    assert words.replaced(value) == {
        "email": "erased-7f3a@erased.invalid", "n": 3, "ok": True, "none": None, "tags": ["Erased person 7F3A", "vip"],
    }  # fmt: skip


def test_a_stored_sentence_keeps_its_code(words: Words, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(texts._wordings, "test.greeting", "Hello %(name)s")
    replaced = words.replaced(Text("test.greeting", {"name": NAME}))
    assert isinstance(replaced, Text)
    assert (replaced.code, replaced.params) == ("test.greeting", {"name": "Erased person 7F3A"})
    assert replaced == "Hello Erased person 7F3A"


LONG = "A sentence that is longer than sixty characters, so that it was cut off: "


@pytest.mark.parametrize("end", [MAIL[:12], MAIL[:-1], MAIL[:20] + "…", NAME[:-1], NAME[:6]])
def test_a_word_that_was_cut_off_at_the_end_is_found(words: Words, end: str) -> None:
    assert words.found_in([LONG + end])
    assert words.cut_words({"text": LONG + end}) == {end.rstrip("…")}
    assert end.rstrip("…") not in words.replaced(LONG + end)
    assert words.replaced(LONG + end).startswith(LONG + "Erased person" if "@" not in end else LONG + "erased-")


@pytest.mark.parametrize("end", ["Ann", "Ann ", "joann.lee@north", "Lee", "."])
def test_what_only_looks_cut_off_stays(words: Words, end: str) -> None:
    assert words.replaced(LONG + end) == LONG + end
    assert words.replaced("Short: " + MAIL[:12]) == "Short: " + MAIL[:12]


def test_anchors_are_in_every_form() -> None:
    words = Words({NAME: "x", "b\u00fcro@m\u00fcller.example": "y", "info@x.example": "z"})
    assert words.anchors == ("Ann", "info", "ller")
    assert Words({"\u674e": "x"}).anchors is None, "no plain letters: the database can't filter"


@pytest.mark.parametrize(
    "text", ["Zoë O&#x27;Neil", "Zoë O&#39;Neil", "Zo&#235; O&apos;Neil", "Zo%C3%AB%20O'Neil", "Zo%C3%AB%20O%27Neil"]
)
def test_an_apostrophe_is_found_as_others_write_it(text: str) -> None:
    words = Words({"Zoë O'Neil": "Erased person 7F3A"})
    assert "7F3A" in words.replaced(f"<b>{text}</b>")


@pytest.mark.parametrize("text", ["Jörg Weiß", "JÖRG WEISS", "Jörg Weiss", "JÖRG WEIẞ", quote("jörg weiß")])
def test_letters_that_grow_in_another_case_are_found(text: str) -> None:
    words = Words({"Jörg Weiß": "Erased person 7F3A"})
    replaced = words.replaced(f"For {text}")
    assert replaced in ("For Erased person 7F3A", "For Erased%20person%207F3A")
    assert words.found_in({"x": [text]})


@pytest.mark.parametrize("cut", ["Jörg Weißma", "JÖRG WEISSMA", "jörg weissma"])
def test_a_word_that_grows_is_found_where_it_is_cut_off(cut: str) -> None:
    words = Words({"Jörg Weißmann": "Erased person 7F3A"})
    assert words.replaced("ß" * 70 + f" {cut}") == "ß" * 70 + " Erased person 7F3A"
