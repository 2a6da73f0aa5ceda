"""Contrast of the tokens in both schemes, computed from the style sheet: text 4.5 to 1, graphics 3 to 1 (WCAG 2.2)."""

from __future__ import annotations

import re

import pytest
from django.conf import settings

TOKENS = {
    name: (light, dark)
    for name, light, dark in re.findall(
        r"--([\w-]+): light-dark\((#[0-9a-f]{6}), (#[0-9a-f]{6})\)",
        (settings.BASE_DIR / "static/css/tokens.css").read_text(),
    )
}
PAGES = ("bg", "rail", "sunk", "raise", "sel", "hover")
TEXT = [
    *[(ink, page) for ink in ("ink", "ink2", "mute") for page in PAGES],
    ("accent", "bg"), ("accent", "raise"), ("accent", "accent-soft"), ("accent", "sel"), ("ink", "here"),
    ("on-accent", "accent"), ("on-accent", "accent-hover"), ("on-tip", "tip"), ("demo", "demo-fill"),
    *[(tone, fill) for tone in ("green", "amber", "orange", "red", "blue", "violet", "slate")
      for fill in (f"{tone}-fill", "bg", "sunk", "sel", "hover")],
]  # fmt: skip
GRAPHICS = [
    ("ctl", "bg"), ("ctl", "raise"), ("bar", "track"), ("near", "track"), ("over", "track"), ("c1", "bg"),
    ("c2", "bg"), ("near", "bg"), ("over", "bg"), ("accent", "sunk"),
]  # fmt: skip


def luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize(
    ("front", "back", "least"), [*[(*pair, 4.5) for pair in TEXT], *[(*pair, 3.0) for pair in GRAPHICS]]
)
def test_contrast(front: str, back: str, least: float, scheme: int) -> None:
    found = contrast(TOKENS[front][scheme], TOKENS[back][scheme])
    assert found >= least, f"{front} on {back}: {found:.2f}"


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_white_on_danger(scheme: int) -> None:
    assert contrast("#ffffff", TOKENS["danger"][scheme]) >= 4.5
