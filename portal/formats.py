"""Formatting of numbers, money and times as plain text, for template tags, exports and mail.

A missing value is None and shown as a dash by the caller; these functions take only real values. Times are shown in the
active time zone (the user's, else UTC), and the zone is always named.
"""

from datetime import date, datetime, timedelta, tzinfo
from decimal import Decimal
from functools import lru_cache
from math import inf

from django.utils import timezone
from django.utils.dates import MONTHS_3
from django.utils.formats import get_format, number_format
from django.utils.functional import Promise
from django.utils.translation import get_language, gettext_lazy
from django.utils.translation import gettext as _

MINUS = "\u2212"
_SIGNS = {"USD": "$", "EUR": "\u20ac", "GBP": "\u00a3"}
MINUTE, HOUR, DAY = 60, 3600, 86400
# How a number of seconds is said: below how many, in which unit, and with which text.
Units = tuple[tuple[float, int, str | Promise], ...]
_AGO: Units = (
    (5, 1, gettext_lazy("just now")),
    (MINUTE, 1, gettext_lazy("%(n)d s ago")),
    (HOUR, MINUTE, gettext_lazy("%(n)d min ago")),
)
_AHEAD: Units = (
    (MINUTE, 1, gettext_lazy("in %(n)d s")),
    (HOUR, MINUTE, gettext_lazy("in %(n)d min")),
    (DAY, HOUR, gettext_lazy("in %(n)d h")),
)
_SPAN: Units = (
    (1, 1, gettext_lazy("less than 1 s")),
    (MINUTE, 1, gettext_lazy("%(n)d s")),
    (HOUR, MINUTE, gettext_lazy("%(n)d min")),
    (inf, HOUR, gettext_lazy("%(n)d h")),
)


def number_text(value: int | Decimal, *, signed: bool = False) -> str:
    """Return 412380 as "412,380"; ``signed`` adds a plus. The minus is the typographic one."""
    size = -value if value < 0 else value
    text = _grouped(size) if isinstance(size, int) else number_format(size, use_l10n=True, force_grouping=True)
    return _sign(value, signed) + text


def money_text(amount: Decimal, currency: str, *, signed: bool = False) -> str:
    """Return ``Decimal("539")`` and "USD" as "$539.00": at least two places, never rounding."""
    exponent = amount.as_tuple().exponent
    places = max(2, -exponent) if isinstance(exponent, int) else 2
    digits = number_format(abs(amount), decimal_pos=places, use_l10n=True, force_grouping=True)
    mark = _SIGNS.get(currency)
    return _sign(amount, signed) + (f"{mark}{digits}" if mark else f"{currency}\u00a0{digits}")


def _sign(value: int | Decimal, signed: bool) -> str:
    if value < 0:
        return MINUS
    return "+" if signed and value > 0 else ""


def _grouped(size: int) -> str:
    """Format a whole number as Django's number_format does, but faster: a list page has hundreds of them."""
    separator, grouping = _separator(get_language() or "")
    if grouping != 3:
        return number_format(size, use_l10n=True, force_grouping=True)
    return f"{size:,}".replace(",", separator)


@lru_cache(maxsize=32)
def _separator(language: str) -> tuple[str, int]:
    return str(get_format("THOUSAND_SEPARATOR", language)), get_format("NUMBER_GROUPING", language)


def percent_text(percent: int) -> str:
    return _("%(n)s%%") % {"n": number_text(percent)}


def ago_text(moment: datetime, *, now: datetime | None = None) -> str:
    """Return a rough relative time: "12 min ago", "3 h ago", "yesterday", "18 Nov"."""
    now = now or timezone.now()
    seconds = int((now - moment).total_seconds())
    if seconds < -5:
        return _in_units(-seconds, _AHEAD) or day_text(_local(moment).date())
    if seconds < HOUR:
        return _in_units(seconds, _AGO)
    zone = timezone.get_current_timezone()
    day, today = moment.astimezone(zone).date(), now.astimezone(zone).date()
    days = (today - day).days
    if days == 0 or seconds < 6 * HOUR:
        return _("%(n)d h ago") % {"n": seconds // HOUR}
    return _("yesterday") if days == 1 else day_text(day, today=today)


def span_text(span: timedelta) -> str:
    """Return a rough duration: "under 1 s", "12 s", "4 min", "3 h"."""
    return _in_units(int(span.total_seconds()), _SPAN)


def _in_units(seconds: int, units: Units) -> str:
    """Return the seconds in the first unit that fits, "" if there is none."""
    for below, size, text in units:
        if seconds < below:
            return str(text) % {"n": seconds // size}
    return ""


def moment_text(moment: datetime) -> str:
    """Return date, time and zone: "18 Nov 2026 14:21 UTC"."""
    return _moment_text(moment.replace(second=0, microsecond=0), timezone.get_current_timezone(), get_language() or "")


@lru_cache(maxsize=4096)
def _moment_text(minute: datetime, zone: tzinfo, language: str) -> str:
    """The rows of a list share most of their minutes."""
    local = minute.astimezone(zone)
    return f"{local.day} {_month(local.month, language)} {local:%Y %H:%M} {zone_name(local)}"


@lru_cache(maxsize=256)
def _month(month: int, language: str) -> str:
    return str(MONTHS_3[month]).title()


def at_text(moment: datetime) -> str:
    """Return a time for use within a sentence: "at 14:21 UTC" today, else "on 18 Nov 2026 14:21 UTC"."""
    local = _local(moment)
    if local.date() == timezone.localdate():
        return _("at %(time)s") % {"time": clock_text(moment, zone=True)}
    return _("on %(moment)s") % {"moment": moment_text(moment)}


def clock_text(moment: datetime, *, seconds: bool = False, zone: bool = False) -> str:
    """Return the time of day, "14:21" or "14:21:40". Name the zone once next to a list; ``zone`` adds it: "14:21
    UTC"."""
    local = _local(moment)
    text = f"{local:%H:%M:%S}" if seconds else f"{local:%H:%M}"
    return f"{text} {zone_name(local)}" if zone else text


def day_text(day: date, *, today: date | None = None) -> str:
    """Return a day, "18 Nov", with the year if it is not the current one. A datetime is converted to the active
    zone."""
    if isinstance(day, datetime):
        day = _local(day).date()
    today = today or timezone.localdate()
    text = f"{day.day} {_month(day.month, get_language() or '')}"
    return text if day.year == today.year else f"{text} {day.year}"


def zone_name(local: datetime) -> str:
    name = local.tzname() or "UTC"
    return f"UTC{name}" if name[:1] in "+-" else name


def _local(moment: datetime) -> datetime:
    return timezone.localtime(moment)
