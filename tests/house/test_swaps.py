"""A swap never replaces a field that a person can be typing in: the templates are walked as text, includes and bases
expanded, and no HTML is rendered."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from html.parser import HTMLParser

from tests.house.test_templates import PAGES, ROOT, relative, without_comments

VOID = {"area", "base", "br", "col", "hr", "img", "input", "link", "meta", "source", "use", "path", "circle"}
NOT_TYPED = {"hidden", "submit", "button"}
BY_ITSELF = re.compile(r"\b(load|poll|every|revealed|intersect|from:)")
BY_A_FIELD = re.compile(r"\b(change|input|keyup|keydown)\b")
FIELD = '<input data-field="%s"%s>'


@dataclass
class Element:
    tag: str
    attributes: dict[str, str]
    parent: Element | None = None
    children: list[Element] = field(default_factory=list)

    def inside(self) -> Iterator[Element]:
        for child in self.children:
            yield child
            yield from child.inside()

    def nearest(self, name: str) -> tuple[str, Element] | None:
        """Return an attribute as htmx inherits it, and the element that has it."""
        at: Element | None = self
        while at is not None:
            if name in at.attributes:
                return at.attributes[name], at
            at = at.parent
        return None

    @property
    def can_be_edited(self) -> bool:
        """True unless htmx keeps the very field over the swap, with what is in it."""
        if {"disabled", "hx-preserve"} & self.attributes.keys():
            return False
        typed = self.tag == "input" and self.attributes.get("type", "text") not in NOT_TYPED
        return typed or self.tag in ("select", "textarea")


class Tree(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.root = self.at = Element("", {})
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, {name: value or "" for name, value in attrs}, self.at)
        self.at.children.append(element)
        if tag not in VOID:
            self.at = element

    def handle_endtag(self, tag: str) -> None:
        at = self.at
        while at.parent is not None and at.tag != tag:
            at = at.parent
        if at.parent is not None:
            self.at = at.parent


def blocks_of(text: str) -> dict[str, str]:
    found, open_ones = {}, []
    for match in re.finditer(r"\{%\s*(block\s+(\w+)|endblock\b[^%]*)\s*%\}", text):
        if match.group(2):
            open_ones.append((match.group(2), match.end()))
        elif open_ones:
            name, start = open_ones.pop()
            found[name] = text[start : match.start()]
    return found


@cache
def expanded(name: str) -> str:
    """Return a template with its base around it and its includes in place; fields of forms as inputs."""
    text = without_comments((ROOT / "templates" / name).read_text())
    blocks: dict[str, str] = {}
    while base := re.search(r"""\{%\s*extends\s+["']([^"']+)["']""", text):
        blocks = blocks_of(text) | blocks
        text = without_comments((ROOT / "templates" / base.group(1)).read_text())
    for block, inner in blocks.items():
        text = re.sub(
            rf"\{{%\s*block {block}\s*%\}}.*?\{{%\s*endblock\b[^%]*%\}}", lambda _m, i=inner: i, text, flags=re.DOTALL
        )
    # The part of a provider is chosen by the view.
    parts = "".join(f'{{% include "{relative(p)[10:]}" %}}' for p in PAGES if p.name.startswith("_part_"))
    text = re.sub(r"\{%\s*include\s+part\.template\s*%\}", lambda _match: parts, text)
    text = re.sub(
        r"""\{%\s*include\s+["']([^"']+)["'].*?%\}""", lambda match: expanded(match.group(1)), text, flags=re.DOTALL
    )
    text = re.sub(r"\{%\s*field\s+(\S+)(.*?)%\}", field_tag, text, flags=re.DOTALL)
    text = re.sub(r"\{\{\s*(\w+\.bound)\s*\}\}", lambda match: FIELD % (match.group(1), ""), text)
    text = re.sub(r"\{%\s*poll\b.*?%\}", 'hx-get="x" hx-trigger="poll" hx-target="this"', text, flags=re.DOTALL)
    text = re.sub(r'"\{%\s*\w+\s+"([^"]*)".*?%\}"', r'"\1"', text)  # quotes inside quotes
    # A URL in an attribute stays a token; every other tag is no markup.
    return re.sub(r"\{%.*?%\}|\{\{.*?\}\}", "x", text, flags=re.DOTALL)


def field_tag(match: re.Match[str]) -> str:
    return FIELD % (match.group(1), ' hx-get="x"' if "hx_get=" in match.group(2) else "")


def trees() -> dict[str, Element]:
    return {name: Tree(expanded(name)).root for name in (relative(path)[10:] for path in PAGES)}


def trigger_of(element: Element) -> str:
    """Return who starts the request: "itself", "field", or "person" for a click or a submit."""
    said = element.attributes.get("hx-trigger", "")
    if BY_ITSELF.search(said) and not BY_A_FIELD.search(said):
        return "itself"
    natural = {"input": "change", "select": "change", "textarea": "change"}.get(element.tag, "")
    return "field" if BY_A_FIELD.search(said or natural) else "person"


def target_of(element: Element) -> tuple[Element | None, str]:
    """Return the element that is replaced where it is in the same template, else its ID."""
    said, owner = element.nearest("hx-target") or ("this", element)
    if said == "this":
        return owner, ""
    if said.startswith("closest "):
        at: Element | None = element
        while at is not None and at.tag != said[8:]:
            at = at.parent
        return at, ""
    return None, said.removeprefix("#")


def replaced() -> Iterator[tuple[str, str, str, list[Element]]]:
    """Yield template, trigger, target and the elements in it, for each request that is not a form's own submit."""
    all_trees = trees()
    by_id: dict[str, list[Element]] = {}
    for root in all_trees.values():
        for each in root.inside():
            if "id" in each.attributes:
                by_id.setdefault(each.attributes["id"], []).append(each)
    for name, root in all_trees.items():
        for each in root.inside():
            if not {"hx-get", "hx-post"} & each.attributes.keys():
                continue
            target, target_id = target_of(each)
            if target_id and each.attributes.get("hx-disabled-elt") == f"#{target_id}":
                continue  # nothing can be typed there while the answer is on its way
            here = [one for one in root.inside() if one.attributes.get("id") == target_id]
            found = [target] if target else here or by_id.get(target_id, [])
            yield name, trigger_of(each), target_id or "this", [inner for one in found for inner in one.inside()]


def test_what_replaces_itself_or_follows_a_field_holds_no_field() -> None:
    """What a page replaces by itself, or when a field changes, stands beside the fields and holds none of them."""
    faults = {
        f"{name} ({trigger}) replaces {inner.tag} {inner.attributes.get('data-field') or inner.attributes.get('name')}"
        f" in {target}"
        for name, trigger, target, inside in replaced()
        if trigger != "person"
        for inner in inside
        if inner.can_be_edited
    }
    assert sorted(faults) == []
