"""What no template may hold: the content policy would drop it, or it would let markup through unescaped."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings

ROOT: Path = settings.BASE_DIR
TEMPLATES = sorted(
    path
    for folder in (ROOT / "templates", *ROOT.glob("*/templates"), *ROOT.glob("portal/*/templates"))
    for path in folder.rglob("*")
    if path.suffix in {".html", ".txt", ".svg"}
)
PAGES = [path for path in TEMPLATES if path.suffix == ".html"]
SPRITE = (ROOT / "static/img/icons.svg").read_text()

FORBIDDEN = {
    "an htmx handler in the markup": r"hx-on[:\s=-]",
    "a script expression": r"""(?:hx-vals|hx-headers|hx-vars)\s*=\s*["']\s*(?:js|javascript):|hx-vars""",
    "a javascript: address": r"javascript:",
    "an inline handler": r"<[^>]*\son[a-z]+\s*=",
    "an inline script": r"<script(?![^>]*\bsrc=)",
    "an inline style": r"""<style|\sstyle\s*=""",
    "markup let through": r"\|\s*safe(?:seq)?\b|\{%\s*autoescape\s+off",
    "a trigger filter (needs eval)": r"""hx-trigger\s*=\s*["'][^"']*\[""",
    "a foreign address for a resource": r"""(?:src|hx-get|hx-post)\s*=\s*["'](?:https?:)?//""",
    "a blank before a percent sign": r"(?:\d|\}\})[ \u00a0]%(?![}\d(])",
    "a fixed address for htmx": r"""hx-(?:get|post|put|patch|delete)\s*=\s*["']/""",
}


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def without_comments(text: str) -> str:
    return re.sub(r"\{#.*?#\}|\{%\s*comment.*?endcomment\s*%\}|<!--.*?-->", "", text, flags=re.DOTALL)


def test_there_are_templates_to_look_at() -> None:
    assert len(PAGES) > 20


@pytest.mark.parametrize("rule", FORBIDDEN)
def test_no_template_holds(rule: str) -> None:
    found = [
        f"{relative(path)}: {match.group(0).strip()[:80]}"
        for path in PAGES
        for match in re.finditer(FORBIDDEN[rule], without_comments(path.read_text()), re.IGNORECASE)
    ]
    assert found == []


def test_the_rules_find_what_they_are_for() -> None:
    samples = {
        "an htmx handler in the markup": '<a hx-on:click="x">',
        "a script expression": """<a hx-vals='js:{a:1}'>""",
        "a javascript: address": '<a href="javascript:x">',
        "an inline handler": '<a class="x" onclick="x">',
        "an inline script": "<script>x</script>",
        "an inline style": '<p style="x">',
        "markup let through": "{{ x|safe }}",
        "a trigger filter (needs eval)": """<p hx-trigger="keyup[key=='Enter']">""",
        "a foreign address for a resource": '<script src="https://cdn.example/x.js">',
        "a blank before a percent sign": "<b>{{ share }} %</b>",
        "a fixed address for htmx": '<a hx-get="/customers/">',
    }
    assert samples.keys() == FORBIDDEN.keys()
    for rule, sample in samples.items():
        assert re.search(FORBIDDEN[rule], sample, re.IGNORECASE), rule


def test_no_two_landmarks_have_one_heading_as_their_name() -> None:
    """Two regions of one name are one to whoever jumps between them."""
    region = re.compile(r"""<(?:section|nav|aside|div|form)\b[^>]*\baria-labelledby="([\w-]+)\"""")
    for path in PAGES:
        names = region.findall(path.read_text())
        assert len(names) == len(set(names)), f"{relative(path)}: {sorted(names)}"


def test_the_search_of_the_frame_has_a_name_of_its_own() -> None:
    """Lists have a search, too."""
    searches = {relative(path): re.findall(r"""<form\b[^>]*role="search"[^>]*>""", path.read_text()) for path in PAGES}
    names = [name for found in searches.values() for each in found for name in re.findall('aria-label="([^"]+)"', each)]
    assert "aria-label" in searches["templates/components/_topbar.html"][0]
    assert len(names) == len(set(names))
    assert all(len(found) <= 1 for found in searches.values())


def test_a_new_tab_gets_no_way_back() -> None:
    for path in PAGES:
        for tag in re.findall(r'<[^>]*target="_blank"[^>]*>', path.read_text()):
            assert "noopener" in tag, f"{relative(path)}: {tag}"


def test_pages_have_one_h1_and_it_is_the_bases() -> None:
    bases = {"templates/base.html", "templates/base_plain.html"}
    for path in PAGES:
        count = len(re.findall(r"<h1\b", path.read_text()))
        assert count == (1 if relative(path) in bases else 0), relative(path)


def test_pages_name_themselves() -> None:
    for path in PAGES:
        text = path.read_text()
        if re.search(r"\{%\s*extends\s+[\"']base", text):
            for block in ("title", "heading"):
                assert re.search(rf"\{{%\s*block {block}\s*%\}}", text), f"{relative(path)} has no {block}"


def test_a_post_form_carries_its_token() -> None:
    for path in PAGES:
        for form in re.findall(r"<form\b.*?</form>", path.read_text(), flags=re.DOTALL | re.IGNORECASE):
            if re.search(r'method="post"', form, re.IGNORECASE):
                assert "csrf_token" in form, f"{relative(path)}: {form[:80]}"


def icons() -> Iterator[tuple[str, str]]:
    for path in PAGES:
        text = path.read_text()
        for name in re.findall(r"""\{%\s*icon\s+["']([\w-]+)["']""", text):
            yield relative(path), name
        for name in re.findall(r"""\{%\s*nav_link\s+\S+\s+\S+\s+["']([\w-]+)["']""", text):
            yield relative(path), name
        for name in re.findall(r"""\{%\s*timeline_item\s+["']([\w-]+)["']""", text):
            yield relative(path), name


def test_every_icon_is_in_the_sprite() -> None:
    used = list(icons())
    assert len(used) > 20
    assert [f"{where}: {name}" for where, name in used if f'<symbol id="{name}"' not in SPRITE] == []


def test_every_word_goes_through_gettext() -> None:
    """Coarse: two words of letters between tags, outside of tags and variables, are a text nobody can translate."""
    found = []
    for path in PAGES:
        text = without_comments(path.read_text())
        text = re.sub(r"\{%\s*blocktrans.*?endblocktrans(?:late)?\s*%\}", "", text, flags=re.DOTALL)
        text = re.sub(r"<(code|kbd|title)\b.*?</\1>", "", text, flags=re.DOTALL)
        text = re.sub(r"\{%.*?%\}|\{\{.*?\}\}", "", text, flags=re.DOTALL)
        plain = re.sub(r"<[^>]*>", "\n", text)
        found += [
            f"{relative(path)}: {line.strip()}"
            for line in plain.splitlines()
            if re.search(r"[A-Za-z]{3,} [A-Za-z]{2,}", line)
        ]
    # The sheet shows made-up customers; their names and packages stay as they are.
    assert [one for one in found if not one.startswith("templates/help/components.html")] == []
