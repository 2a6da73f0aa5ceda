"""Bounds of what people and browsers send. docs/reference/limits.md lists every parser with its bound."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

LONGEST = 256 * 1024  # of JSON in a form's field
MOST_COLUMNS = 200  # of an uploaded table


def read_json_input(
    text: str | bytes, *, longest: int = LONGEST, parse_float: Callable[[str], Any] | None = None
) -> Any:
    """Return the value of JSON. Numbers have Python's limit of 4,300 digits, and what is nested too deep is no JSON.

    Raises:
        ValueError: It is longer than `longest`, nested too deep, or no JSON.
    """
    if len(text) > longest:
        raise ValueError("the JSON is too long")
    try:
        return json.loads(text, parse_float=parse_float)
    except RecursionError:
        raise ValueError("the JSON is nested too deep") from None
