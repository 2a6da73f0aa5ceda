"""Pattern that finds whole words in any case: "Ann" isn't in "Joanna", nor "ann@x.example" in "joann@x.example"."""

from __future__ import annotations

import re
from collections.abc import Iterable

# What stands before a word may be escaped, as in "%3Cann@x.example%3E", "\\u003cann@x.example" and "\\nAnn". Escapes
# of "+", "-" and "." don't end a word: they can be a part of another address.
_CODE = r"(?:(?!2[BDE])[0-3][0-9A-F]|[57][BD])"
_ESCAPE = rf"(?<=%{_CODE})|(?<=\\u00{_CODE})|(?<=\\[bfnrt])"
_NAME = rf"(?:(?<![^\W_])|{_ESCAPE})", r"(?![^\W_])"
# What else can be a part of the local part or the domain of another address.
_ADDRESS = rf"(?:(?<![\w.+\-])|{_ESCAPE})", r"(?![\w\-]|\.\w)"


def whole_words(words: Iterable[str]) -> re.Pattern[str]:
    """Return the pattern of any of these words; none finds nothing. A space is any run of blanks and line breaks."""
    found = sorted({*words} - {""}, key=lambda word: (-len(word), word))
    addresses = [word for word in found if "@" in word or "%40" in word]
    names = [word for word in found if word not in addresses]
    parts = [_any(part, *ends) for part, ends in ((addresses, _ADDRESS), (names, _NAME)) if part]
    return re.compile("|".join(parts) or r"(?!)", re.IGNORECASE)


def _any(words: Iterable[str], before: str, after: str) -> str:
    bodies = (r"\s+".join(map(re.escape, word.split())) for word in words)
    return f"{before}(?:{'|'.join(bodies)}){after}"
