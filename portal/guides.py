"""The guides of docs/help: parsed, rendered and searched. Files are read once per process.

A guide starts with `# Title` and a paragraph that summarizes it; each `## ` starts a section. README.md is the table of
contents: `## ` groups of links with a description. Guides are in English; their markup is not translated.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe
from django.utils.text import capfirst
from markdown_it import MarkdownIt
from markdown_it.common.utils import escapeHtml
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token

FOLDER: Path = settings.BASE_DIR / "docs" / "help"
INDEX = "README"
EXCERPT = 220  # characters


@dataclass(frozen=True)
class Section:
    """A heading with the text below it. The first section of a guide has the guide's title and no anchor."""

    heading: str
    anchor: str
    text: str


@dataclass(frozen=True)
class Guide:
    slug: str
    title: str
    html: SafeString
    sections: tuple[Section, ...]
    # Targets of its links and images as written; a test refuses those that lead nowhere inside the portal.
    links: tuple[str, ...]

    @property
    def url(self) -> str:
        return reverse("help-guide", args=[self.slug])

    def section(self, anchor: str) -> Section | None:
        return next((each for each in self.sections if each.anchor == anchor), None)


@dataclass(frozen=True)
class GuideEntry:
    guide: Guide
    description: str


@dataclass(frozen=True)
class GuideGroup:
    """A heading of the table of contents with its guides."""

    heading: str
    entries: tuple[GuideEntry, ...]


@dataclass(frozen=True)
class SearchHit:
    """A section that contains all words. `rank`: 0 in the guide's title, 1 in the heading, 2 in the text."""

    guide: Guide
    section: Section
    rank: int
    heading: SafeString
    excerpt: SafeString

    @property
    def url(self) -> str:
        return section_url(self.guide, self.section)


def section_url(guide: Guide, section: Section) -> str:
    return f"{guide.url}#{section.anchor}" if section.anchor else guide.url


@cache
def contents() -> tuple[GuideGroup, ...]:
    """Return the table of contents; empty where docs/help was not installed."""
    index = FOLDER / f"{INDEX}.md"
    return tuple(_groups(_MARKDOWN.parse(index.read_text(encoding="utf-8")))) if index.exists() else ()


@cache
def guides() -> dict[str, Guide]:
    """Return all guides by slug, in the order of the table of contents."""
    return {entry.guide.slug: entry.guide for group in contents() for entry in group.entries}


def neighbors(guide: Guide) -> tuple[Guide | None, Guide | None]:
    """Return the previous and the next guide."""
    found = [None, *guides().values(), None]
    place = found.index(guide)
    return found[place - 1], found[place + 1]


def parse_guide(slug: str, text: str) -> Guide:
    """Parse and render a file. Raw HTML in it is shown as text."""
    tokens = _MARKDOWN.parse(text)
    if not tokens or tokens[0].tag != "h1":
        raise ValueError(f"{slug}.md does not start with a title.")
    title, body = _text(tokens[1:2]), tokens[3:]
    _add_anchors(body)
    _prepare_cells(body)
    links = tuple(_rewrite_links(body))
    rendered = _MARKDOWN.renderer.render(body, _MARKDOWN.options, {})
    return Guide(slug, title, mark_safe(rendered), tuple(_sections(title, body)), links)  # noqa: S308  raw HTML is off


def search_guides(query: str) -> list[SearchHit]:
    """Return the sections with all words of the query, best first. A word is found where a word begins with it."""
    begins = [rf"(?<!\w){re.escape(_stem(word))}" for word in query.split()]
    if not begins:
        return []
    words = [re.compile(each, re.IGNORECASE) for each in begins]
    pattern = re.compile("|".join(sorted(begins, key=len, reverse=True)), re.IGNORECASE)
    hits = [
        SearchHit(guide, section, rank, _mark(section.heading, pattern), _excerpt(section.text, pattern))
        for guide in guides().values()
        for section in guide.sections
        if (rank := _rank(guide, section, words)) is not None
    ]
    return sorted(hits, key=lambda hit: hit.rank)


def _stem(word: str) -> str:
    """Return the word in lower case and in the singular: "keys" finds "API key"."""
    low = word.lower()
    return low[:-1] if len(low) > 3 and low.endswith("s") and not low.endswith("ss") else low


def _rank(guide: Guide, section: Section, words: Sequence[re.Pattern[str]]) -> int | None:
    in_title, in_heading, in_text = (
        {word for word in words if word.search(text)} for text in (guide.title, section.heading, section.text)
    )
    every = set(words)
    if not section.anchor and in_title == every:
        return 0
    if not in_heading | in_text:
        return None
    if in_heading and in_heading | in_title == every:
        return 1
    return 2 if in_title | in_heading | in_text == every else None


def _excerpt(text: str, pattern: re.Pattern[str]) -> SafeString:
    """Return the text around the first word found, or its beginning."""
    found = pattern.search(text)
    start = max(0, found.start() - EXCERPT // 3) if found else 0
    if start:
        start = text.find(" ", start) + 1
    part = text[start : start + EXCERPT]
    if start + EXCERPT < len(text):
        part = part.rpartition(" ")[0] + " …"
    return _mark(("… " if start else "") + part, pattern)


def _mark(text: str, pattern: re.Pattern[str]) -> SafeString:
    marked, end = SafeString(""), 0
    for found in pattern.finditer(text):
        marked += format_html("{}<mark>{}</mark>", text[end : found.start()], found.group())
        end = found.end()
    return marked + format_html("{}", text[end:])


# --- Markdown ---------------------------------------------------------------------------------------------


class GuideRenderer(RendererHTML):
    """HTML with a link beside each heading, and with tables and code that scroll by keyboard."""

    def heading_open(self, tokens: Sequence[Token], idx: int, options: Any, env: Any) -> str:
        return f'<div class="pk-prose-head">{self.renderToken(tokens, idx, options, env)}'

    def heading_close(self, tokens: Sequence[Token], idx: int, options: Any, env: Any) -> str:
        anchor, heading = (escapeHtml(tokens[idx].meta[name]) for name in ("anchor", "heading"))
        link = f'<a class="pk-anchor" href="#{anchor}" aria-label="Link to section: {heading}">#</a>'
        return f"</{tokens[idx].tag}>{link}</div>\n"

    def table_open(self, tokens: Sequence[Token], idx: int, options: Any, env: Any) -> str:
        return '<div class="pk-scroll" tabindex="0" role="group" aria-label="Table"><table class="pk-table">\n'

    def table_close(self, tokens: Sequence[Token], idx: int, options: Any, env: Any) -> str:
        return "</table></div>\n"

    def fence(self, tokens: Sequence[Token], idx: int, options: Any, env: Any) -> str:
        return f'<pre class="pk-code" tabindex="0">{escapeHtml(tokens[idx].content)}</pre>\n'

    code_block = fence


_MARKDOWN = MarkdownIt("commonmark", {"html": False}, renderer_cls=GuideRenderer).enable("table")


def _text(tokens: Sequence[Token]) -> str:
    """Return the words of the tokens without markup."""
    leaves = (leaf for token in tokens for leaf in (*_leaves(token), token))
    return " ".join("".join(_words(leaf) for leaf in leaves).split())


def _words(token: Token) -> str:
    if token.type == "inline":
        return " "  # its leaves have the words; the next block is apart
    return " " if token.type.endswith("break") else token.content


def _leaves(token: Token) -> list[Token]:
    return token.children or []


def _add_anchors(tokens: Sequence[Token]) -> None:
    """Give each heading the anchor that GitHub gives it."""
    seen: Counter[str] = Counter()
    for opening, inline, closing in zip(tokens, tokens[1:], tokens[2:], strict=False):
        if opening.type == "heading_open":
            heading = _text([inline])
            anchor = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
            seen[anchor] += 1
            if seen[anchor] > 1:
                anchor = f"{anchor}-{seen[anchor] - 1}"
            opening.attrSet("id", anchor)
            closing.meta = {"anchor": anchor, "heading": heading}


def _prepare_cells(tokens: Sequence[Token]) -> None:
    """Align by class (the content policy drops styles), and make a column without a heading the heads of its rows."""
    column, headless = 0, False
    for place, token in enumerate(tokens):
        if token.type == "tr_open":
            column = 0
        elif token.type in ("th_open", "td_open"):
            if "right" in str(token.attrs.pop("style", "")):
                token.attrSet("class", "pk-right")
            named = bool(tokens[place + 1].content.strip())
            if column == 0 and token.type == "th_open":
                headless = not named
            is_head = named and (token.type == "th_open" or (column == 0 and headless))
            if is_head:
                token.attrSet("scope", "col" if token.type == "th_open" else "row")
            token.tag = tokens[place + 2].tag = "th" if is_head else "td"
            column += 1


def _rewrite_links(tokens: Sequence[Token]) -> Iterator[str]:
    """Make links to other files of the folder links to their pages; yield every target as written."""
    for leaf in (leaf for token in tokens for leaf in _leaves(token)):
        if leaf.type == "image":
            yield str(leaf.attrGet("src"))
        if leaf.type == "link_open":
            target = str(leaf.attrGet("href"))
            yield target
            path, _, anchor = target.partition("#")
            if path.endswith(".md") and "/" not in path:
                slug = path.removesuffix(".md")
                page = reverse("help") if slug == INDEX else reverse("help-guide", args=[slug])
                leaf.attrSet("href", f"{page}#{anchor}" if anchor else page)


def leads_somewhere(guide: Guide, target: str) -> bool:
    """Return whether a link of the guide leads to a guide, to one of its sections, or to another site."""
    parts = urlsplit(target)
    if parts.scheme:
        return parts.scheme in ("http", "https")
    slug = parts.path.removesuffix(".md") if parts.path else guide.slug
    if parts.path == f"{INDEX}.md":
        return not parts.fragment
    found = guides().get(slug) if parts.path in ("", f"{slug}.md") else None
    return found is not None and found.section(parts.fragment) is not None


def _sections(title: str, body: Sequence[Token]) -> Iterator[Section]:
    opening, *chapters = _chapters(body)
    yield Section(title, "", _text(opening))
    for chapter in chapters:
        yield Section(_text(chapter[1:2]), str(chapter[0].attrGet("id")), _text(chapter[3:]))


def _groups(tokens: Sequence[Token]) -> Iterator[GuideGroup]:
    for chapter in _chapters(tokens)[1:]:
        items = [token for token in chapter[3:] if token.type == "inline"]
        yield GuideGroup(_text(chapter[1:2]), tuple(_entry(item) for item in items))


def _chapters(tokens: Sequence[Token]) -> list[Sequence[Token]]:
    """Split at each heading of the second level; the first part is what stands before them."""
    starts = [place for place, token in enumerate(tokens) if token.type == "heading_open" and token.tag == "h2"]
    return [tokens[start:end] for start, end in pairwise([0, *starts, len(tokens)])]


def _entry(item: Token) -> GuideEntry:
    """Read `[Title](slug.md): description`."""
    leaves = _leaves(item)
    link = next(leaf for leaf in leaves if leaf.type == "link_open")
    after = next(place for place, leaf in enumerate(leaves) if leaf.type == "link_close")
    slug = str(link.attrGet("href")).removesuffix(".md")
    guide = parse_guide(slug, (FOLDER / f"{slug}.md").read_text(encoding="utf-8"))
    return GuideEntry(guide, capfirst(_text(leaves[after:]).lstrip(" :-")))
