"""The texts that people read, as gettext knows them: collected from the source, and read from the English catalog."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from django.template.base import Lexer, TokenType
from django.utils.translation import trim_whitespace

ROOT = Path(__file__).resolve().parents[2]
CATALOG = ROOT / "locale/en/LC_MESSAGES/django.po"
SINGULAR = {"_", "gettext", "gettext_lazy", "gettext_noop"}
PLURAL = {"ngettext", "ngettext_lazy"}
_QUOTED = r"""("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')"""
_TRANSLATE = re.compile(rf"translate\s+{_QUOTED}")
_MARKED = re.compile(rf"(?<!\w)_\({_QUOTED}\)")
_VARIABLE = re.compile(r"\{\{\s*([\w.]+)\s*\}\}")
_LINE = re.compile(r'(?:(msgid_plural|msgid|msgstr)\S* )?(".*")')


def source_texts() -> set[str]:
    """Return every text of the product that gettext would translate, singulars and plurals."""
    found: set[str] = set()
    for folder in ("portal", "customers", "billing"):
        for file in (ROOT / folder).rglob("*.py"):
            if "migrations" not in file.parts:
                found.update(_of_code(file.read_text()))
    for file in (ROOT / "templates").rglob("*.html"):
        found.update(_of_template(file.read_text()))
    return found


def catalog_texts() -> set[str]:
    """Return the texts of the English catalog."""
    found: set[str] = set()
    for entry in CATALOG.read_text().split("\n\n"):
        texts, kind = {"msgid": "", "msgid_plural": "", "msgstr": ""}, "msgstr"
        for line in entry.splitlines():
            if match := _LINE.match(line):
                kind = match[1] or kind
                texts[kind] += ast.literal_eval(match[2])
        found |= {texts["msgid"], texts["msgid_plural"]}
    return found - {""}


def _of_code(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        name = getattr(node.func, "id", getattr(node.func, "attr", ""))
        count = 1 if name in SINGULAR else 2 if name in PLURAL else 0
        for argument in node.args[:count]:
            if isinstance(argument, ast.Constant) and argument.value:
                yield str(argument.value)


def _of_template(source: str) -> Iterator[str]:
    inside: str | None = None  # the opening tag of the block around the token
    text = ""
    for token in Lexer(source).tokenize():
        content = token.contents
        if token.token_type == TokenType.BLOCK and content.split()[0] == "blocktranslate":
            inside, text = content, ""
        elif inside is not None and content in ("plural", "endblocktranslate") and token.token_type == TokenType.BLOCK:
            yield trim_whitespace(text) if " trimmed" in inside else text
            inside, text = (inside if content == "plural" else None), ""
        elif inside is not None:
            text += f"%({content})s" if token.token_type == TokenType.VAR else content.replace("%", "%%")
        elif token.token_type in (TokenType.BLOCK, TokenType.VAR):
            marked = [*_TRANSLATE.findall(content), *_MARKED.findall(content)]
            yield from (ast.literal_eval(each).replace("%", "%%") for each in marked)
