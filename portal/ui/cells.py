"""Small components of table rows: icon, states, numbers, times, usage bar.

A list has hundreds of these, so they are built by ``format_html`` (which escapes) and not by a template each, and
results that depend only on a state are cached.
"""

from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal
from functools import lru_cache, partial
from typing import Any

from django import template
from django.templatetags.static import static
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import get_language
from django.utils.translation import gettext as _

from portal import formats, state_labels
from portal.typed_text import visible_name
from portal.ui.bar import use_bar_of

register = template.Library()
register.filter(visible_name)


@register.simple_tag
@lru_cache(maxsize=512)
def icon(name: str, size: int = 16) -> SafeString:
    """Render a decorative icon of the sprite; the text next to it has the meaning."""
    return format_html(
        '<svg class="pk-icon" width="{}" height="{}" aria-hidden="true"><use href="{}#{}"/></svg>',
        size,
        size,
        static("img/icons.svg"),
        name,
    )


@register.simple_tag
def account_state(account: Any, header: bool = False, provider: str = "") -> SafeString:
    """Render the state of an account (an object with ``state``, ``state_raw``, ``provider_label``, and ``shown_state``
    if another state is displayed) or a state's name."""
    if isinstance(account, str):
        return _account_state(account, provider, "", header, get_language() or "")
    raw = "" if account.state == "deleted" else getattr(account, "state_raw", "") or ""  # said before it was deleted
    name = provider or str(getattr(account, "provider_label", ""))
    state = getattr(account, "shown_state", account.state)
    return _account_state(str(state), name, str(raw), header, get_language() or "")


@lru_cache(maxsize=1024)
def _account_state(state: str, provider: str, raw: str, header: bool, language: str) -> SafeString:
    look = state_labels.account_look(state)
    said = look.said_by(provider or _("provider"))
    filled = look.filled or header
    title = (
        _("%(provider)s reports: %(word)s") % {"provider": provider or _("The provider"), "word": raw} if raw else ""
    )
    chip = format_html(
        '<span class="pk-state pk-s-{}{}"{}>{}<span>{}</span></span>',
        look.css,
        " pk-fill" if filled else "",
        format_html(' title="{}"', title) if title else "",
        icon(look.icon, 14),
        said.word,
    )
    return format_html('{} <span class="pk-by">{}</span>', chip, said.qualifier) if said.qualifier else chip


@register.simple_tag
def operation_state(operation: Any) -> SafeString:
    """Render the state of an operation (an object with ``state``) or a state's name."""
    state = operation if isinstance(operation, str) else str(operation.state)
    return _operation_state(state, get_language() or "")


@lru_cache(maxsize=64)
def _operation_state(state: str, language: str) -> SafeString:
    look = state_labels.operation_look(state)
    return format_html(
        '<span class="pk-state pk-o-{}{}">{}<span>{}</span></span>',
        look.css,
        " pk-fill" if look.filled else "",
        icon(look.icon, 14),
        look.word,
    )


@register.filter
def initials(name: str | None) -> str:
    """Return the two letters of an avatar: "LO" for "Larkfield Outdoor", "KE" for "Kestrel"."""
    words = [word for word in (name or "").split() if word[0].isalnum()]
    letters = words[0][0] + words[-1][0] if len(words) > 1 else "".join(words)[:2]
    return letters.upper()


@register.simple_tag
def missing(words: str = "") -> SafeString:
    """Render the dash for a missing value. It is not zero, and a screen reader reads the text."""
    return format_html(
        '<span class="pk-missing" aria-hidden="true">—</span><span class="pk-sr">{}</span>',
        words or _("no data"),
    )


@register.simple_tag
def number(value: int | Decimal | None, signed: bool = False) -> SafeString:
    if value is None:
        return missing()
    return format_html('<span class="pk-num">{}</span>', formats.number_text(value, signed=signed))


@register.simple_tag
def money(amount: Decimal | None, currency: str, signed: bool = False) -> SafeString:
    if amount is None:
        return missing(_("unknown"))
    return format_html('<span class="pk-num">{}</span>', formats.money_text(amount, currency, signed=signed))


@register.simple_tag
def ago(moment: datetime | None) -> SafeString:
    """Render a relative time, with the full time in the title."""
    return _time(moment, formats.ago_text)


@register.simple_tag
def utc(moment: datetime | None) -> SafeString:
    """Render the full time in the user's zone (UTC if none is set), with the name of the zone."""
    return _time(moment, formats.moment_text)


@register.simple_tag
def clock(moment: datetime | None, seconds: bool = False, zone: bool = False) -> SafeString:
    """Render only the time of day, for steps and timelines that show the day elsewhere. ``zone`` adds its name, where
    nothing near it says it."""
    return _time(moment, partial(formats.clock_text, seconds=seconds, zone=zone))


def _time(moment: datetime | None, text_of: Callable[[datetime], str]) -> SafeString:
    if moment is None:
        return missing(_("never"))
    title = formats.moment_text(moment)
    return format_html('<time datetime="{}" title="{}">{}</time>', moment.isoformat(), title, text_of(moment))


@register.simple_tag
def day(value: date | datetime | None) -> SafeString:
    if value is None:
        return missing(_("no date"))
    return format_html('<time datetime="{}">{}</time>', value.isoformat(), formats.day_text(value))


# Track and marks are drawn once for the page, in components/_overlays.html.
_BAR = '<span class="pk-bar-box{}"><svg class="pk-bar" aria-hidden="true">{}<use href="#pk-marks"/></svg></span>'
_OF_TRACK = 0.8  # the share of the track that is the quota: it ends at 125%


@register.simple_tag
def use_bar(
    used: int | None = None,
    allowed: int | None = None,
    *,
    as_of: datetime | None = None,
    since: date | datetime | None = None,
    words: str = "",
    unlimited: bool = False,
) -> SafeString:
    """Render usage against its limit. ``used=None`` is missing usage and never a bar of length zero.

    ``since``: the last day with usage data, shown with "No usage data". ``words`` replaces "No usage data" if there can
    be none ("Not created yet"). ``allowed=None``: the limit is unknown; ``unlimited``: there is none.
    """
    if used is None:
        return _no_reading(words, since)
    language = get_language() or ""
    title = _as_of(formats.moment_text(as_of), language) if as_of else SafeString("")
    if not allowed:
        return _without_bar(used, _limit_words(allowed, unlimited=unlimited), title)
    bar = use_bar_of(used, allowed)
    # Every part is escaped already, or a number: a list has one bar for each row.
    return SafeString(
        f'<span class="pk-use pk-use-{bar.level}"{title}><span class="pk-use-text">'
        f"<span><b>{formats.number_text(used)}</b> {_of(allowed, language)}</span> "
        f"<em>{_percent(bar.percent, language)}</em></span>{_drawn(bar.inside, bar.over)}</span>"
    )


@register.simple_tag
def row_use(row: Any) -> SafeString:
    """Render the usage of a list's row: `used`, `allowed`, `read_at`, `since`, `instead` and `unlimited`."""
    return use_bar(
        row.used, row.allowed, as_of=row.read_at, since=row.since, words=row.instead, unlimited=row.unlimited
    )


@lru_cache(maxsize=1024)
def _as_of(moment: str, language: str) -> SafeString:
    return format_html(' title="{}"', _("As of %(at)s") % {"at": moment})


@lru_cache(maxsize=1024)
def _of(allowed: int, language: str) -> SafeString:
    return format_html("{}", _("of %(n)s") % {"n": formats.number_text(allowed)})


@lru_cache(maxsize=1024)
def _percent(percent: int, language: str) -> SafeString:
    return format_html("{}", formats.percent_text(percent))


@lru_cache(maxsize=4096)
def _drawn(inside: float, over: float) -> SafeString:
    part, more = (f"{share * _OF_TRACK:.4g}" for share in (inside, over))
    beyond = format_html('<rect class="pk-over" x="80%" y="3" width="{}%" height="4"/>', more) if over else ""
    fill = format_html('<rect class="pk-in" y="3" width="{}%" height="4"/>{}', part, beyond)
    return format_html(_BAR, "", format_html('<use href="#pk-track"/>{}', fill))


def _no_reading(words: str, since: date | datetime | None) -> SafeString:
    when = _("since %(day)s") % {"day": formats.day_text(since)} if since else ""
    return format_html(
        '<span class="pk-use pk-use-none"><span class="pk-use-text"><span>{}</span> <em>{}</em></span>{}</span>',
        words or _("No usage data"),
        when,
        format_html(_BAR, " pk-hatched", ""),
    )


def _without_bar(used: int, limit: str, title: SafeString) -> SafeString:
    return format_html(
        '<span class="pk-use"{}><span class="pk-use-text"><b>{}</b> <span>{}</span></span></span>',
        title,
        formats.number_text(used),
        limit,
    )


def _limit_words(allowed: int | None, *, unlimited: bool) -> str:
    if unlimited:
        return _("no limit")
    return _("limit unknown") if allowed is None else _("of 0")
