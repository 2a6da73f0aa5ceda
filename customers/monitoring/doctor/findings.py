"""A finding of a check of the deployment."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """An error stops or loses something; a warning will, or may."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True)
class Finding:
    """Something that is wrong: what, why it matters, and the command or setting that fixes it."""

    code: str
    severity: Severity
    title: str
    why: str
    fix: str


def error(code: str, title: str, why: str, fix: str) -> Finding:
    return Finding(code, Severity.ERROR, title, why, fix)


def warning(code: str, title: str, why: str, fix: str) -> Finding:
    return Finding(code, Severity.WARNING, title, why, fix)
