"""Reader of `.env`, the file with an installation's settings. Every process reads it before anything else.

A line is `NAME=value`, a comment or empty. Quotes around a whole value are removed; nothing else is special. Variables
that are set already win over the file. A `$` is taken literally here, while Docker Compose, which reads the same file,
expands it: write a value that contains one in single quotes.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured

from portal import secret_files

BASE_DIR = Path(__file__).resolve().parent.parent
_LINE = re.compile(r"(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)=([^\0]*)")
_QUOTED = re.compile(r"""'([^']*)'|"([^"\\]*)\"""")


def path() -> Path | None:
    """Return the file to read: PORTAL_ENV_FILE, or `.env` beside manage.py if there is one. None if PORTAL_ENV_FILE is
    empty, as for the demo and the tests, which have their own settings."""
    if (named := os.environ.get("PORTAL_ENV_FILE")) is not None:
        return Path(named) if named else None
    default = BASE_DIR / ".env"
    return default if default.exists() else None


def load() -> None:
    """Add the file's variables, and the secrets that are in files of their own, to the environment. Raises
    `ImproperlyConfigured`."""
    if (file := path()) is not None:
        load_file(file)
    secret_files.load_secrets()


def load_file(file: Path) -> None:
    """Add the file's variables to the environment. Raises `ImproperlyConfigured`."""
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        why = (error.strerror or "") if isinstance(error, OSError) else "It is not UTF-8 text"
        raise ImproperlyConfigured(f"{file} can't be read: {why}.") from None
    for name, value in _variables(file, text).items():
        os.environ.setdefault(name, value)


def _variables(file: Path, text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for number, line in enumerate(text.split("\n"), start=1):
        line = line.strip()  # noqa: PLW2901  a file from Windows has \r, too
        if not line or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line)
        if match is None:
            raise ImproperlyConfigured(f"Line {number} of {file} is not NAME=value. Fix it, or begin it with #.")
        name, value = match[1], _value(match[2].strip())
        if value is None:
            raise ImproperlyConfigured(
                f"The value of {name} in line {number} of {file} has a quote without its pair, or a comment behind it. "
                "Put quotes around the whole value, and comments on lines of their own."
            )
        if name in found:
            raise ImproperlyConfigured(f"Line {number} of {file} sets {name} a second time. Remove one of the lines.")
        found[name] = value
    return found


def _value(text: str) -> str | None:
    """Return the value without its quotes. None if Docker Compose, which reads the same file, would take it
    differently."""
    if quoted := _QUOTED.fullmatch(text):
        return quoted[1] if quoted[1] is not None else quoted[2]
    return None if text[:1] in ("'", '"') or re.search(r"(^|\s)#", text) else text
