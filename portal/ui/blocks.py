"""Components of a page's body: notice, empty state, source line, steps, timeline, copyable text, navigation."""

import uuid
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from django import template
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from portal import guides
from portal.ui import cells

register = template.Library()
# Their IDs fit into the request line that gunicorn accepts, 4,094 bytes.
ROWS_PER_POLL = 100

_NOTICES = {
    "info": "info-circle",
    "warn": "alert-triangle",
    "danger": "alert-octagon",
    "unknown": "help-hexagon",
    "good": "circle-check",
}


@register.simple_block_tag
def notice(content: str, kind: str, title: str = "") -> SafeString:
    """Render a tinted box in the page. ``kind``: info, warn, danger, unknown or good. The body is markup."""
    return render_to_string(
        "components/_notice.html", {"kind": kind, "icon": _NOTICES[kind], "title": title, "content": content}
    )


@register.inclusion_tag("components/_blank_state.html")
def blank_state(
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


@register.simple_tag
def poll(address: str, every: int = 2, **query: Any) -> SafeString:
    """Render the attributes of an element that updates itself, which needs an ID (static/js/live.js sends its request).

    ``every``: seconds between two requests while something changes. What is empty in ``query`` is left out.
    """
    asked = urlencode({name: value for name, value in query.items() if value}, safe=",:")
    return format_html(
        'hx-get="{}" hx-trigger="poll" hx-target="this" hx-swap="morph" data-poll="{}"',
        f"{address}?{asked}" if asked else address,
        every,
    )


@register.simple_tag
def moving_rows(address: str, moving: Sequence[tuple[Any, int]], part: int | None = None) -> SafeString:
    """Render what updates the rows of a list that still change: one request for 100 of them, not one for each.

    ``moving``: the UUID of each such row, and how often it is worth a request, in seconds. The answer to
    ``address?rows=`` has those rows with ``hx-swap-oob``, and this element again with the same ``part``.
    """
    starts = range(0, len(moving), ROWS_PER_POLL) if part is None else [0]
    chunks = [moving[start : start + ROWS_PER_POLL] for start in starts]
    return format_html_join(
        "",
        '<div id="moving-{}" hidden {}></div>',
        (
            (n, poll(address, min(every for _key, every in rows), rows=_hexes(rows), part=str(n)) if rows else "")
            for n, rows in enumerate(chunks, start=part or 0)
        ),
    )


def _hexes(rows: Sequence[tuple[Any, int]]) -> str:
    return ",".join(uuid.UUID(str(key)).hex for key, _every in rows)


@register.simple_tag(takes_context=True)
def nav_link(context: template.Context, url: str, label: str, icon: str, match: str = "") -> SafeString:
    """Render a navigation link. ``match``: the route names it is current on, comma-separated; a * ends a prefix.

    A name without a namespace is one of the link's own.
    """
    request = context.get("request")
    found = getattr(request, "resolver_match", None)
    name = found.view_name if found else ""
    current = SafeString(' aria-current="page"') if _matches(name, match or url, url) else ""
    picture = cells.icon(icon, 18)
    return format_html('<a class="pk-nav" href="{}"{}>{}<span>{}</span></a>', reverse(url), current, picture, label)


def _matches(name: str, patterns: str, url: str) -> bool:
    own = "".join(url.rpartition(":")[:2])
    full = [one if ":" in one else own + one for one in patterns.split(",")]
    return any(name == one or (one.endswith("*") and name.startswith(one[:-1])) for one in full)


@register.simple_tag
def help_link(slug: str, anchor: str = "") -> SafeString:
    """Link to a guide of docs/help, or to one of its sections. A test refuses a link to one that does not exist."""
    guide = guides.guides().get(slug)
    section = guide.section(anchor) if guide else None
    if not guide or not section:
        return SafeString("")
    label = _("Help: %(topic)s") % {"topic": section.heading}
    return format_html(
        '<a class="pk-icon-btn pk-help" href="{}" title="{}" aria-label="{}">{}</a>',
        guides.section_url(guide, section),
        label,
        label,
        cells.icon("help"),
    )
