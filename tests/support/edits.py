"""The page of an edit form as a browser has it."""

from __future__ import annotations

import re
from html import unescape

from django.test import Client


def fields_of(page: str) -> dict[str, str]:
    """What a browser would send of the page's main form, untouched."""
    form = next(each for each in re.findall(r"<form.*?</form>", page, re.DOTALL) if 'name="seen"' in each)
    sent = {}
    for tag in re.findall(r"<input[^>]*>", form):
        attrs = {key: unescape(value) for key, value in re.findall(r'([\w-]+)="([^"]*)"', tag)}
        off = attrs.get("type") in ("checkbox", "radio") and not re.search(r"\schecked\b", tag)
        if attrs.get("name") and not off and attrs["name"] != "csrfmiddlewaretoken":
            sent[attrs["name"]] = attrs.get("value", "on" if attrs.get("type") == "checkbox" else "")
    for name, body in re.findall(r'<select name="(\w+)".*?>(.*?)</select>', form, re.DOTALL):
        chosen = re.search(r'<option value="([^"]*)" selected', body)
        sent[name] = unescape(chosen[1]) if chosen else ""
    for name, body in re.findall(r'<textarea name="(\w+)".*?>\s?(.*?)</textarea>', form, re.DOTALL):
        sent[name] = unescape(body)
    return sent


def seen_at(client: Client, url: str) -> dict[str, str]:
    """The values that the edit form at an address is opened with, to be sent along."""
    return {"seen": fields_of(client.get(url).content.decode())["seen"]}
