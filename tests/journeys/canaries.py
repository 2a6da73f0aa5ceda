"""Secrets that are looked for in whatever an installation leaves behind, in clear or in a form that anyone undoes."""

from __future__ import annotations

import base64
import gzip
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import quote, quote_plus

SHORTEST = 8  # a shorter value would be found by chance


def forms(secret: str) -> dict[str, bytes]:
    """Return a secret as it may be written: in clear, percent-encoded, in hexadecimal digits, in base64."""
    raw = secret.encode()
    found = {
        "clear": raw, "reversed": raw[::-1], "hex": raw.hex().encode(), "HEX": raw.hex().upper().encode(),
        "utf-16": secret.encode("utf-16-le"), "percent": quote(secret, safe="").encode(),
        "plus": quote_plus(secret).encode(),
    }  # fmt: skip
    for before in range(3):
        padded = base64.b64encode(b"\x00" * before + raw)
        start, end = (-(-before * 4 // 3)) if before else 0, len(padded) - (4 if (len(raw) + before) % 3 else 0)
        middle = padded[start:end]
        found[f"base64+{before}"] = middle
        found[f"base64url+{before}"] = middle.translate(bytes.maketrans(b"+/", b"-_"))
    return {name: value for name, value in found.items() if len(value) >= SHORTEST}


def hits(secrets: Mapping[str, str], places: Mapping[str, bytes]) -> list[str]:
    """Return which secret stands in which place, and how."""
    return [
        f"{name} in {place} ({how}): …{_around(content, value)}…"
        for name, secret in secrets.items()
        for how, value in forms(secret).items()
        for place, content in places.items()
        if value in content
    ]


def _around(content: bytes, value: bytes) -> str:
    at = content.index(value)
    return content[max(0, at - 80) : at].decode("utf-8", "replace").replace("\n", " ")


def files(folder: Path, *, without: tuple[str, ...] = ()) -> Iterator[tuple[str, bytes]]:
    """Yield every file below a folder, and what a compressed one holds."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name.split(".")[0] not in without:
            content = path.read_bytes()
            yield str(path.relative_to(folder)), content
            if content[:2] == b"\x1f\x8b":
                yield f"{path.relative_to(folder)}, unpacked", gzip.decompress(content)
