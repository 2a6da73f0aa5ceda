"""What this machine lacks is skipped by name; where NO_SKIPS=1 (as in CI) it fails instead."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest


def skip_or_fail(reason: str) -> NoReturn:
    if os.environ.get("NO_SKIPS") == "1":
        pytest.fail(f"{reason} (NO_SKIPS=1)", pytrace=False)
    pytest.skip(reason)


def require(condition: object, reason: str, *, installable: bool = True) -> None:
    """Skip, or fail under NO_SKIPS=1, unless `condition` is true.

    `installable=False` for what no package brings (somebody else's file): its absence is always a skip.
    """
    if condition:
        return
    if not installable:
        pytest.skip(reason)
    skip_or_fail(reason)
