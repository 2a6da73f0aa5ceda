"""The help: its guides as pages, the search, and the links from other pages to sections."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.conf import settings as ours
from django.template import Context, Template
from django.test import Client
from django.urls import reverse

from billing.models import Status
from portal import guides
from portal.access.roles import Role
from tests.house.test_templates import PAGES, relative
from tests.support.factories import UserFactory
from tests.support.people import sign_in

FOLDER = guides.FOLDER
FILES = sorted(FOLDER.glob("*.md"))
TEMPLATES = ours.BASE_DIR / "templates/customers/bulk"
HELP_LINK = re.compile(r"""\{%\s*help_link\s+["']([\w-]+)["'](?:\s+["']([\w-]+)["'])?\s*%\}""")


@pytest.fixture
def reader(client: Client, db: None) -> Client:
    return sign_in(client, UserFactory(role=Role.AUDITOR))


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two made-up guides in place of those of docs/help."""
    usage = guides.parse_guide(
        "usage",
        "# Usage\n\nHow much was sent & billed.\n\n## Missing data\n\nA key was rejected.\n\n## Overage\n\nData above.",
    )
    keys = guides.parse_guide(
        "keys", "# API keys\n\nKeys of an account.\n\n## Usage of a key\n\nThe old one is missing <b>."
    )
    group = guides.GuideGroup("All", (guides.GuideEntry(keys, "Keys."), guides.GuideEntry(usage, "Usage.")))
    monkeypatch.setattr(guides, "contents", lambda: (group,))
    monkeypatch.setattr(guides, "guides", lambda: {"keys": keys, "usage": usage})


def found(query: str) -> list[str]:
    return [f"{hit.guide.slug}#{hit.section.anchor}" for hit in guides.search_guides(query)]


# --- The guides of docs/help ----------------------------------------------------------------------------


def test_the_table_of_contents_names_every_guide_once() -> None:
    listed = [entry.guide.slug for group in guides.contents() for entry in group.entries]
    assert sorted(listed) == sorted(path.stem for path in FILES if path.stem != guides.INDEX)
    assert all(group.heading and entry.description for group in guides.contents() for entry in group.entries)


def test_every_guide_begins_with_a_title_and_a_summary() -> None:
    for guide in guides.guides().values():
        assert guide.title
        assert guide.sections[0].text, guide.slug
        assert len({each.anchor for each in guide.sections}) == len(guide.sections), guide.slug


def test_every_link_of_a_guide_leads_somewhere() -> None:
    dead = [
        f"{guide.slug}.md: {target}"
        for guide in guides.guides().values()
        for target in guide.links
        if not guides.leads_somewhere(guide, target)
    ]
    assert dead == []


@pytest.mark.parametrize(
    ("target", "leads"),
    [
        ("keys.md", True), ("keys.md#usage-of-a-key", True), ("#overage", True), ("README.md", True),
        ("https://docs.example/x", True), ("keys.md#gone", False), ("gone.md", False), ("#gone", False),
        ("keys", False), ("../reference/settings.md", False), ("/customers/", False), ("keys.png", False),
        ("ftp://docs.example", False),
    ],
)  # fmt: skip
def test_links_out_of_the_help_are_refused(library: None, target: str, leads: bool) -> None:
    assert guides.leads_somewhere(guides.guides()["usage"], target) is leads


def test_the_guide_of_usage_names_every_data_status() -> None:
    guide = (FOLDER / "usage.md").read_text()
    assert [status.label for status in Status if f"| **{status.label}** |" not in guide] == []


def test_the_guide_of_bulk_changes_names_every_button() -> None:
    guide = (FOLDER / "bulk-changes.md").read_text()
    pages = "".join((TEMPLATES / name).read_text() for name in ("_set.html", "_decide.html"))
    buttons = "".join(re.findall(r"<button.*?</button>", pages, re.DOTALL))
    labels = re.findall(r'{% translate "(.+?)" %}', buttons)
    labels += re.findall(r"{% plural %}\s*(.+?)\s*{% endblocktranslate %}", buttons)
    labels = [label.replace("{{ n }}", "…") for label in labels]
    assert len(labels) == 16
    assert [label for label in labels if f"**{label}**" not in guide] == []


def test_the_image_contains_the_guides() -> None:
    assert "COPY docs/help docs/help\n" in (ours.BASE_DIR / "Dockerfile").read_text()
    assert "!docs/help\n" in (ours.BASE_DIR / ".dockerignore").read_text()


def test_the_files_are_read_once() -> None:
    assert guides.contents() is guides.contents()
    assert guides.guides() is guides.guides()


# --- Rendering ------------------------------------------------------------------------------------------


def test_raw_html_in_a_guide_is_shown_as_text() -> None:
    guide = guides.parse_guide("x", '# X\n\n<script>alert(1)</script>\n\nA <b onclick="x">word</b>. [x](javascript:x)')
    assert "<script" not in guide.html
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in guide.html
    assert "&lt;b onclick=" in guide.html
    assert "href" not in guide.html


def test_headings_get_the_anchors_that_github_gives_them() -> None:
    text = '# X\n\nY.\n\n## Mark an account “Do not suspend”\n\n## `v2` & more\n\n## Twice\n\n### Twice\n\n## Ä "q"'
    guide = guides.parse_guide("x", text)
    anchors = ["mark-an-account-do-not-suspend", "v2--more", "twice", "twice-1", "ä-q"]
    assert re.findall(r'<h[23] id="([^"]*)"', guide.html) == anchors
    assert re.findall(r'<a class="pk-anchor" href="#([^"]*)"', guide.html) == anchors
    assert 'aria-label="Link to section: Ä &quot;q&quot;"' in guide.html
    assert [each.anchor for each in guide.sections] == ["", *anchors[:3], anchors[4]]


def test_links_between_guides_become_links_between_pages() -> None:
    guide = guides.parse_guide(
        "x", "# X\n\n[a](states.md) [b](states.md#active) [c](#d) [e](https://e.example) [f](README.md)"
    )
    assert re.findall(r'href="([^"]*)"', guide.html) == [
        "/help/states/", "/help/states/#active", "#d", "https://e.example", "/help/",
    ]  # fmt: skip
    assert guide.links == ("states.md", "states.md#active", "#d", "https://e.example", "README.md")


def test_a_table_scrolls_and_its_first_column_names_the_rows() -> None:
    guide = guides.parse_guide("x", "# X\n\n| | A | B |\n|---|---|--:|\n| Row | 1 | 2 |\n")
    assert re.search(r'<div class="pk-scroll" tabindex="0"[^>]*><table', guide.html)
    assert "<td></td>" in guide.html
    assert '<th scope="row">Row</th>' in guide.html
    assert '<th class="pk-right" scope="col">B</th>' in guide.html
    assert '<td class="pk-right">2</td>' in guide.html
    assert "style" not in guide.html


def test_a_table_with_all_headings_has_cells_in_its_first_column() -> None:
    assert "<td>Row</td>" in guides.parse_guide("x", "# X\n\n| N | A |\n|---|---|\n| Row | 1 |\n").html


def test_code_can_be_scrolled_by_keyboard() -> None:
    html = guides.parse_guide("x", "# X\n\n```\na < b\n```\n").html
    assert '<pre class="pk-code" tabindex="0">a &lt; b\n</pre>' in html


def test_a_file_without_a_title_is_refused() -> None:
    with pytest.raises(ValueError, match=r"x\.md"):
        guides.parse_guide("x", "No title.")


# --- Search ---------------------------------------------------------------------------------------------


def test_a_title_is_before_a_heading_and_a_heading_before_text(library: None) -> None:
    assert found("usage") == ["usage#", "keys#usage-of-a-key"]
    assert found("missing") == ["usage#missing-data", "keys#usage-of-a-key"]
    assert found("keys") == ["keys#", "keys#usage-of-a-key", "usage#missing-data"]


def test_all_words_must_be_found(library: None) -> None:
    assert found("USAGE  missing") == ["usage#missing-data", "keys#usage-of-a-key"]
    assert found("usage rejected") == ["usage#missing-data"]
    assert found("account rejected") == []
    assert found("") == []


def test_words_found_are_marked_and_the_rest_is_escaped(library: None) -> None:
    hit = guides.search_guides("missing <b>")[0]
    assert hit.excerpt == "The old one is <mark>missing</mark> <mark>&lt;b&gt;</mark>."
    assert guides.search_guides("sent")[0].excerpt == "How much was <mark>sent</mark> &amp; billed."
    assert guides.search_guides("MISSING")[0].heading == "<mark>Missing</mark> data"


def test_a_word_is_found_where_a_word_begins(library: None) -> None:
    assert found("reject") == ["usage#missing-data"]
    assert found("ejected") == []


def test_an_excerpt_begins_shortly_before_the_word() -> None:
    text = f"{'before ' * 100}needle{' after' * 100}"
    excerpt = guides._excerpt(text, re.compile("needle"))
    assert excerpt.startswith("… before")
    assert excerpt.endswith("after …")
    assert "<mark>needle</mark>" in excerpt
    assert len(excerpt) < guides.EXCERPT + 30


# --- Pages ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", Role.values)
def test_everyone_on_the_team_can_read_the_help(client: Client, db: None, role: str) -> None:
    assert client.get(reverse("help")).status_code == 302
    sign_in(client, UserFactory(role=role))
    for address in (reverse("help"), reverse("help-guide", args=["states"])):
        assert client.get(address).status_code == 200


def test_the_contents_link_to_every_guide(reader: Client) -> None:
    text = reader.get(reverse("help")).content.decode()
    for guide in guides.guides().values():
        assert f'href="{guide.url}">{guide.title}</a>' in text


def test_a_guide_has_its_sections_and_its_neighbors(reader: Client) -> None:
    first, second, third, *_ = guides.guides().values()
    text = reader.get(second.url).content.decode()
    aside = text[text.index("<aside") :]
    assert [f"#{each.anchor}" for each in second.sections[1:]] == re.findall(r'<a href="(#[^"]*)"', aside)
    assert re.search(rf'href="{first.url}"\s+rel="prev"', text)
    assert re.search(rf'href="{third.url}"\s+rel="next"', text)
    assert 'rel="prev"' not in reader.get(first.url).content.decode()


def test_the_search_page_links_to_sections(reader: Client, library: None) -> None:
    text = reader.get(reverse("help"), {"q": "missing"}).content.decode()
    assert '<a class="pk-strong" href="/help/usage/#missing-data"><mark>Missing</mark> data</a>' in text
    assert text.count('value="missing"') == 1, "it is not a search for customers"


def test_a_search_without_results_says_what_to_do(reader: Client) -> None:
    text = reader.get(reverse("help"), {"q": "<i>zebra & co"}).content.decode()
    assert "No results for “&lt;i&gt;zebra &amp; co”" in text
    assert "Enter fewer or different words" in text
    assert "Show all guides" in text


@pytest.mark.parametrize("text", ["(", "[a", "*", "a\\", "(?P<x>", "a{1,99999}"])
def test_a_search_takes_any_text(reader: Client, text: str) -> None:
    """Words are no pattern."""
    assert reader.get(reverse("help"), {"q": text}).status_code == 200


def test_an_unknown_guide_is_not_found(reader: Client) -> None:
    assert reader.get(reverse("help-guide", args=["gone"])).status_code == 404
    assert reader.get(reverse("help-guide", args=[guides.INDEX])).status_code == 404


def test_pages_of_the_help_ask_the_database_for_the_reader_only(reader: Client, django_assert_num_queries: Any) -> None:
    reader.get(reverse("help"))
    for address in (reverse("help"), reverse("help") + "?q=usage", reverse("help-guide", args=["states"])):
        with django_assert_num_queries(2) as context:
            reader.get(address)
        tables = [re.search(r'FROM "(\w+)"', each["sql"]) for each in context.captured_queries]
        assert [each and each[1] for each in tables] == ["django_session", "access_user"]


def test_the_component_sheet_is_open_to_developers_only(reader: Client, settings: Any) -> None:
    address = reverse("help-components")
    assert reader.get(address).status_code == 404
    settings.DEMO = True
    assert reader.get(address).status_code == 200
    settings.DEMO, settings.DEBUG = False, True
    assert reader.get(address).status_code == 200


# --- Links from other pages -----------------------------------------------------------------------------


def test_every_help_link_of_a_page_leads_to_a_section() -> None:
    used = [(relative(path), *match.groups("")) for path in PAGES for match in HELP_LINK.finditer(path.read_text())]
    dead = []
    for path, slug, anchor in used:
        guide = guides.guides().get(slug)
        if guide is None or guide.section(anchor) is None:
            dead.append(f"{path}: {slug}#{anchor}")
    assert dead == []
    assert len(used) > 30
    written = sum(path.read_text().count("{% help_link") for path in PAGES)
    assert written == len(used), "a guide and an anchor are named as literals, so that this test can read them"


def test_help_links_stand_in_the_block_of_the_base() -> None:
    block = re.compile(r"\{% block help %\}.*?\{% endblock %\}", re.DOTALL)
    outside = [relative(path) for path in PAGES if "help_link" in block.sub("", path.read_text())]
    assert outside == []
    assert block.search((ours.BASE_DIR / "templates/base.html").read_text())


def test_a_help_link_names_its_section_to_screen_readers(library: None) -> None:
    def render(arguments: str) -> str:
        return Template("{% load ui %}{% help_link " + arguments + " %}").render(Context())

    html = render('"usage" "missing-data"')
    assert 'href="/help/usage/#missing-data"' in html
    assert 'aria-label="Help: Missing data"' in html
    assert 'aria-hidden="true"' in html
    assert 'aria-label="Help: Usage"' in render('"usage"')
    assert render('"usage" "gone"') == render('"gone"') == ""
