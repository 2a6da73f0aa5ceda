"""Components of a page's body: notice, empty state, source line, steps, timeline, copyable text, navigation."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from django import template
from django.template.loader import render_to_string
from django.utils.safestring import SafeString

register = template.Library()

_NOTICES = {
    "info": "info-circle", "warn": "alert-triangle", "danger": "alert-octagon", "unknown": "help-hexagon",
    "good": "circle-check",
}  # fmt: skip


@register.simple_block_tag
def notice(content: str, kind: str, title: str = "") -> SafeString:
    """Render a tinted box in the page. ``kind``: info, warn, danger, unknown or good. The body is markup."""
    return render_to_string(
        "components/_notice.html", {"kind": kind, "icon": _NOTICES[kind], "title": title, "content": content}
    )


@register.inclusion_tag("components/_empty.html")
def empty(
    title: str, text: str = "", action_url: str = "", action_label: str = "", icon: str = "search"
) -> dict[str, Any]:
    """Render the empty state of a list: its meaning, and the action to take."""
    return {
        "title": title,
        "text": text,
        "action_url": action_url,
        "action_label": action_label,
        "icon": icon,
    }


@register.inclusion_tag("components/_source_line.html")
def source_line(at: datetime | None, source: str, next_at: datetime | None = None) -> dict[str, Any]:
    """Render "Read 22 min ago from SendGrid usage API, next 15:00". One per block that shows a provider's data."""
    return {"at": at, "source": source, "next_at": next_at}


@register.inclusion_tag("components/_steps.html")
def steps(items: Iterable[Any]) -> dict[str, Any]:
    """Render the steps of an operation: each has ``label``, ``state`` (done, now, next, failed, unknown), and may have
    ``at``, or ``note`` in place of the time."""
    return {"items": list(items)}


@register.inclusion_tag("components/_copyable.html")
def copyable(text: str, label: str = "") -> dict[str, Any]:
    """Render an ID in monospace with a copy button. ``label`` describes it to screen readers."""
    return {"text": text, "label": label}


@register.simple_block_tag
def timeline_item(content: str, icon: str, at: datetime, title: str = "", by: str = "") -> SafeString:
    """Render one entry: an <li> for an <ol class="pk-timeline">. The body is markup and may be empty."""
    return render_to_string(
        "components/_timeline_item.html",
        {
            "icon": icon,
            "at": at,
            "title": title,
            "by": by,
            "content": content,
            "has_body": bool(content.strip()),
        },
    )


@register.inclusion_tag("components/_nav_link.html", takes_context=True)
def nav_link(context: template.Context, url: str, label: str, icon: str, match: str = "") -> dict[str, Any]:
    """Render a navigation link. ``match``: the route names it is current on, comma-separated; a * ends a prefix."""
    request = context.get("request")
    found = getattr(request, "resolver_match", None)
    name = found.view_name if found else ""
    return {"url": url, "label": label, "icon": icon, "current": _matches(name, match or url)}


def _matches(name: str, patterns: str) -> bool:
    return any(name == one or (one.endswith("*") and name.startswith(one[:-1])) for one in patterns.split(","))
