"""Texts that people read: one English catalog in which each can be reviewed, and no home-made term among them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support import texts

ROOT = texts.ROOT
# Home-made terms that the product once had. Each has an established one in the glossary of docs/help.
_TERMS = """Nobody's accounts; Changes to many; Change the ticked; Signs of life; Push ours; Accept theirs; Look through
now; Look again; Look at it; Take all off; Mend these; Leave aside; Left aside; What must always hold; Told to the
admins; Make the plan; What to think of; On its way; All asked; Nothing is coming; Put on the calendar; Fetch the
secret; looked after by; is not believed; waits its turn; needs a person; for a person; goes on by itself; nothing
stands in the way; for good; is gone; Give to a customer; Take over; Taken over; Off the board; Go on; Why not, if
you refuse; How do you know; In words; Their request id; Words with commas; Stays in the portal; Their number in our
books; Proves later; Empty: the; Asked by; Asked for; Has not joined; The same as a table; The whole invoice; Read
to the end; Not read; came to nothing; let go of; on a safe way; second person; It is so already; Ours is not in
force; slept too long; is taken as; stands below"""
GONE = [" ".join(term.split()) for term in _TERMS.split(";")]
_GONE = re.compile(rf"\b({'|'.join(map(re.escape, GONE))})\b", re.IGNORECASE)
PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for path in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *ROOT.glob("portal/**/*.md")]
)


def gone(text: str) -> list[str]:
    return _GONE.findall(re.sub(r"\s+", " ", text))


def test_the_catalog_has_every_text_and_no_other() -> None:
    source, catalog = texts.source_texts(), texts.catalog_texts()
    assert len(source) > 2_000, "the texts are found"
    assert (source - catalog, catalog - source) == (set(), set()), "run `make texts`"


def test_no_text_has_a_term_that_is_gone() -> None:
    assert {text: gone(text) for text in texts.source_texts() if gone(text)} == {}


@pytest.mark.parametrize("path", PAGES)
def test_no_page_of_the_docs_has_a_term_that_is_gone(path: str) -> None:
    assert gone((ROOT / path).read_text()) == []


def test_no_template_has_a_term_that_is_gone() -> None:
    found = {path.name: gone(path.read_text()) for path in Path(ROOT, "templates").rglob("*.html")}
    assert {name: terms for name, terms in found.items() if terms} == {}
