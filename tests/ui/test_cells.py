"""The small components: what they say, that they escape, and that a missing value is never a zero."""

from __future__ import annotations

import zoneinfo
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from types import SimpleNamespace

import pytest
from django.utils import dateformat, timezone, translation
from django.utils.formats import number_format

from portal import formats
from portal.ui.bar import use_bar_of
from portal.ui.cells import account_state, ago, clock, day, icon, initials, money, number, operation_state, use_bar, utc

NOW = datetime(2026, 11, 18, 14, 21, tzinfo=UTC)


def test_a_missing_number_is_a_dash_with_words_and_zero_is_zero() -> None:
    assert "no data" in number(None)
    assert "—" in number(None)
    assert ">0<" in number(0)
    assert "—" not in number(0)


@pytest.mark.parametrize(
    ("value", "signed", "text"), [(412380, False, "412,380"), (-5, False, "\u22125"), (5, True, "+5"), (0, True, "0")]
)
def test_numbers_are_grouped_and_signed(value: int, signed: bool, text: str) -> None:
    assert formats.number_text(value, signed=signed) == text


@pytest.mark.parametrize(
    ("amount", "currency", "text"),
    [
        ("539", "USD", "$539.00"),
        ("-203.00", "USD", "\u2212$203.00"),
        ("1234567.891", "EUR", "€1,234,567.891"),
        ("0.00095", "USD", "$0.00095"),
        ("12.5", "SEK", "SEK\u00a012.50"),
        ("0", "GBP", "£0.00"),
    ],
)
def test_money_keeps_every_place_it_was_given(amount: str, currency: str, text: str) -> None:
    assert formats.money_text(Decimal(amount), currency) == text


def test_unknown_money_is_a_dash() -> None:
    assert "unknown" in money(None, "USD")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "just now"), (40, "40 s ago"), (59, "59 s ago"), (60, "1 min ago"), (3599, "59 min ago"),
        (3600, "1 h ago"), (14 * 3600, "14 h ago"), (15 * 3600, "yesterday"), (39 * 3600, "16 Nov 2026"),
        (-40, "in 40 s"), (-3000, "in 50 min"),
    ],
)  # fmt: skip
def test_ages_are_as_coarse_as_a_glance_needs(seconds: int, text: str) -> None:
    said = formats.ago_text(NOW - timedelta(seconds=seconds), now=NOW)
    assert said in {text, text.removesuffix(" 2026")}


def test_a_time_before_midnight_is_still_shown_in_hours() -> None:
    assert formats.ago_text(NOW.replace(hour=23), now=NOW.replace(day=19, hour=2)) == "3 h ago"


def test_a_moment_names_its_zone_and_follows_the_persons() -> None:
    assert ">18 Nov 2026 14:21 UTC<" in utc(NOW)
    with timezone.override(zoneinfo.ZoneInfo("Asia/Kathmandu")):
        assert ">18 Nov 2026 20:06 UTC+0545<" in utc(NOW)
        assert 'datetime="2026-11-18T14:21:00+00:00"' in utc(NOW)
    assert "never" in ago(None)


def test_a_time_that_stands_alone_names_its_zone() -> None:
    assert ">14:21<" in clock(NOW)
    assert ">14:21 UTC<" in clock(NOW, zone=True)
    with timezone.override(zoneinfo.ZoneInfo("Europe/Oslo")):
        assert ">15:21:00 CET<" in clock(NOW, seconds=True, zone=True)


def test_a_day_of_another_year_says_the_year() -> None:
    assert formats.day_text(date(2026, 3, 3), today=date(2026, 11, 18)) == "3 Mar"
    assert formats.day_text(date(2025, 3, 3), today=date(2026, 11, 18)) == "3 Mar 2025"
    assert "no date" in day(None)


def test_active_is_quiet_in_a_row_and_filled_in_a_header() -> None:
    assert "pk-fill" not in account_state("active")
    assert "pk-fill" in account_state("active", header=True)
    assert "pk-fill" in account_state("banned")


def test_an_account_state_names_the_provider_and_its_raw_state() -> None:
    account = SimpleNamespace(state="stopped_by_provider", state_raw="susp<b>", provider_label="Send&Grid")
    said = account_state(account)
    assert "by Send&amp;Grid" in said
    assert "susp&lt;b&gt;" in said
    assert "<b>" not in said


def test_an_operation_is_filled_only_when_a_person_must_act() -> None:
    filled = {"unknown", "needs_attention"}
    for state in ("queued", "claimed", "sending", "unknown", "needs_attention", "succeeded", "failed", "cancelled"):
        assert ("pk-fill" in operation_state(SimpleNamespace(state=state))) is (state in filled)


def test_a_missing_reading_is_never_a_bar_of_length_zero() -> None:
    missing = use_bar(used=None, allowed=500, since=date(2026, 11, 18))
    assert "No usage data" in missing
    assert "pk-hatched" in missing
    assert "pk-in" not in missing
    assert "%" not in missing
    zero = use_bar(used=0, allowed=500)
    assert "pk-hatched" not in zero
    assert "0%" in zero


@pytest.mark.parametrize(
    ("used", "percent", "level", "inside", "over"),
    [
        (0, 0, "quiet", 0, 0), (372, 37, "quiet", 37.2, 0), (799, 79, "quiet", 79.9, 0), (800, 80, "near", 80, 0),
        (999, 99, "near", 99.9, 0), (1000, 100, "near", 100, 0), (1001, 100, "over", 100, 0.1),
        (1129, 113, "over", 100, 12.9), (9000, 900, "over", 100, 25),
    ],
)  # fmt: skip
def test_the_bar_never_rounds_up_to_a_mark_nor_leaves_its_track(
    used: int, percent: int, level: str, inside: float, over: float
) -> None:
    bar = use_bar_of(used, 1000)
    assert (bar.percent, bar.level, bar.inside, bar.over) == (percent, level, inside, over)


def test_a_limit_nobody_knows_is_said_and_not_drawn() -> None:
    assert "limit unknown" in use_bar(used=8412)
    assert "no limit" in use_bar(used=8412, unlimited=True)
    assert "of 0" in use_bar(used=8412, allowed=0)
    assert "<svg" not in use_bar(used=8412)


def test_words_for_a_bar_are_escaped() -> None:
    assert "<i>" not in use_bar(words="<i>")


def test_an_icon_is_hidden_from_screen_readers() -> None:
    assert 'aria-hidden="true"' in icon("plug", 14)
    assert "icons.svg#plug" in icon("plug")
    assert "<b>" not in icon("<b>")


@pytest.mark.parametrize(
    ("name", "letters"),
    [("Larkfield Outdoor", "LO"), ("kestrel", "KE"), ("Tern & Tide Travel", "TT"), ("", ""), (None, "")],
)
def test_initials(name: str | None, letters: str) -> None:
    assert initials(name) == letters


@pytest.mark.parametrize("language", ["en", "de", "fr", "hi", "es"])
def test_whole_numbers_are_written_as_django_writes_them(language: str) -> None:
    with translation.override(language):
        for value in (0, 7, 999, 1000, 123456, 48203911):
            assert formats.number_text(value) == number_format(value, use_l10n=True, force_grouping=True)


@pytest.mark.parametrize("language", ["en", "de", "fr", "es"])
def test_months_are_named_as_django_names_them(language: str) -> None:
    with translation.override(language):
        assert formats.moment_text(NOW) == dateformat.format(NOW, "j M Y H:i") + " UTC"
        assert formats.day_text(NOW.date(), today=date(2025, 1, 1)) == dateformat.format(NOW, "j M Y")
