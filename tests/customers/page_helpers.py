"""What the page tests share: a signed-in desk, htmx requests, and reading values back out of a page's forms."""

from __future__ import annotations

import html
import re
from typing import Any

from django.test import Client

HTMX = {"HTTP_HX_REQUEST": "true"}


def text_of(answer: Any) -> str:
    """The markup, with each run of blanks and line breaks made one blank."""
    return " ".join(html.unescape(answer.content.decode()).split())


def prose_of(answer: Any) -> str:
    """What a person reads: the text without the tags, blanks made one."""
    within = re.sub(r"</?(a|b|code|span|time)\b[^>]*>", "", answer.content.decode())
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", within)).split())


def hidden(answer: Any, name: str) -> str:
    """The value of a form's input as a browser would send it back."""
    for tag in re.findall(r"<input[^>]*>", answer.content.decode()):
        if f'name="{name}"' in tag:
            found = re.search(r'value="([^"]*)"', tag)
            return html.unescape(found[1]) if found else ""
    raise AssertionError(f"no input named {name}")


def checked(answer: Any, name: str) -> bool:
    """Whether the page's checkbox is checked."""
    [tag] = re.findall(rf'<input[^>]*type="checkbox"[^>]*name="{name}"[^>]*>', text_of(answer))
    return " checked" in tag


def fields(answer: Any) -> dict[str, str]:
    """Every hidden input of the page's forms, but for the CSRF token."""
    found = re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', answer.content.decode())
    return {name: html.unescape(value) for name, value in found if name != "csrfmiddlewaretoken"}


def follow(client: Client, answer: Any) -> Any:
    return client.get(answer.headers["Location"])
