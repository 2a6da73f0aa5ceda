"""The pinned requirements of production, as the bill of materials and the audit read them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
REQUIREMENTS = ROOT / "requirements-production.txt"
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")
_VIA = re.compile(r"^    #   (?:via )?(?!-c )(\S+)|^    # via (?!-c )(\S+)", re.MULTILINE)


@dataclass(frozen=True)
class Pinned:
    """One release. `hashes`: SHA-256 of its files. `via`: what needs it; "postkeeper" for what pyproject.toml names.
    `is_for_here`: whether this platform and Python install it."""

    name: str
    version: str
    hashes: tuple[str, ...]
    via: tuple[str, ...]
    is_for_here: bool


def pinned_requirements(path: Path = REQUIREMENTS) -> list[Pinned]:
    blocks = re.split(r"^(?=[a-z0-9])", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return [_pinned(block) for block in blocks if block.strip()]


def _pinned(block: str) -> Pinned:
    requirement = Requirement(block.partition("\\")[0].strip())
    (specifier,) = requirement.specifier
    via = tuple(first or second for first, second in _VIA.findall(block))
    marker = requirement.marker
    is_for_here = marker is None or marker.evaluate()
    return Pinned(requirement.name, specifier.version, tuple(_HASH.findall(block)), via, is_for_here)
