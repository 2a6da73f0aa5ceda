"""Validation of new passwords: breached and common ones, words of the portal and the user, and patterns."""

from __future__ import annotations

import re
from threading import Lock
from urllib.parse import urlsplit

from django.conf import settings
from django.contrib.auth.base_user import AbstractBaseUser
from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _
from zxcvbn import zxcvbn
from zxcvbn.matching import L33T_TABLE

# zxcvbn's best score: ten thousand million guesses, years for an attacker with the hash and one machine.
FEWEST_GUESSES = 10**10
# zxcvbn's time grows with the square of the length; further characters cannot make a password easier to guess.
LONGEST_JUDGED = 48
# zxcvbn checks the password once for every way in which symbols may stand for letters: 736 times with all of these, ten
# seconds and more. Above this number of kinds they count as symbols only.
MOST_SYMBOLS = 6
_SYMBOLS = sorted({each for several in L33T_TABLE.values() for each in several if not each.isdigit()})
# One to one, so that repeats stay repeats.
_AS_SYMBOLS_ONLY = str.maketrans({each: chr(0xE000 + n) for n, each in enumerate(_SYMBOLS)})
PRODUCT_WORDS = ("postkeeper", "portal", "reseller")
# zxcvbn stores the words of the call in a module-wide table.
_lock = Lock()


class GuessablePasswordValidator:
    """Reject passwords that zxcvbn guesses quickly: breached passwords, names and words, repeats, sequences, keyboard
    patterns, dates, and the product, the hostnames (the portal's and the providers'), the user's name and email."""

    def validate(self, password: str, user: AbstractBaseUser | None = None) -> None:
        with _lock:
            guesses = zxcvbn(_judged(password), user_inputs=_context_words(user))["guesses"]
        if guesses < FEWEST_GUESSES:
            raise ValidationError(
                _(
                    "This password is too easy to guess. Avoid common passwords, repeated or sequential "
                    "characters, dates, names, and the company or product name. Use four unrelated words or a "
                    "password manager."
                ),
                code="password_guessable",
            )

    def get_help_text(self) -> str:
        return _("Avoid common passwords, names, dates, and the company or product name.")


def _judged(password: str) -> str:
    """Return the part of the password to check, in a form zxcvbn processes quickly."""
    part = password[:LONGEST_JUDGED]
    return part.translate(_AS_SYMBOLS_ONLY) if len(set(part).intersection(_SYMBOLS)) > MOST_SYMBOLS else part


def _context_words(user: AbstractBaseUser | None) -> list[str]:
    """Return the words an attacker would try first, whole and in parts."""
    hosts = [urlsplit(settings.PORTAL_URL).hostname or "", *settings.ALLOWED_HOSTS, *settings.PROVIDER_HOSTS]
    told = [*PRODUCT_WORDS, *hosts, *(str(getattr(user, name, "")) for name in ("name", "email"))]
    parts = [part for text in told for part in re.split(r"[\W_]+", text)]
    return [word for word in dict.fromkeys([*told, *parts]) if len(word) > 2]
