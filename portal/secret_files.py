"""Secrets in files: `NAME_FILE` names the file with the value of the setting `NAME`, as containers and systemd hand
secrets to a process."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from django.core.exceptions import ImproperlyConfigured

# The URL of each service, and the setting with its password.
PASSWORDS = {"DATABASE_URL": "POSTGRES_PASSWORD", "REDIS_URL": "REDIS_PASSWORD", "EMAIL_URL": "EMAIL_PASSWORD"}
NAMES = (
    "SECRET_KEY", "SECRET_KEY_FALLBACKS", "FIELD_KEYS", "AUDIT_KEY", "AUDIT_KEY_FALLBACKS", *PASSWORDS,
    *PASSWORDS.values(), "CACHE_URL", "OIDC_CLIENT_SECRET",
)  # fmt: skip
# Those that an installation may do without: their files may be empty.
OPTIONAL = ("SECRET_KEY_FALLBACKS", "AUDIT_KEY_FALLBACKS", "EMAIL_PASSWORD", "OIDC_CLIENT_SECRET")
# The value of a required secret in a process that has no use for it.
UNUSED = "unused"


def load_secrets() -> None:
    """Add the secrets that are in files to the environment, where an empty variable counts as unset. Raises
    `ImproperlyConfigured`."""
    for name in NAMES:
        if file := os.environ.get(f"{name}_FILE"):
            value = _read(name, Path(file))
            if (os.environ.get(name) or value) != value:
                raise ImproperlyConfigured(f"{name} and {name}_FILE are both set, to different values. Unset one.")
            os.environ[name] = value


def _read(name: str, file: Path) -> str:
    try:
        others, value = file.stat().st_mode & stat.S_IRWXO, file.read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        why = (error.strerror or "") if isinstance(error, OSError) else "It is not UTF-8 text"
        raise ImproperlyConfigured(f"{file}, which {name}_FILE names, can't be read: {why}.") from None
    if others:
        raise ImproperlyConfigured(
            f"Every user of this machine can read or change {file}, which {name}_FILE names. Run: chmod o= {file}"
        )
    if "\0" in value or (not value and name not in OPTIONAL):
        raise ImproperlyConfigured(f"{file}, which {name}_FILE names, is empty or not text. Write the value into it.")
    return value


def with_password(name: str, url: str) -> str:
    """Return the URL of the setting `name` with its service's password in it, percent-encoded."""
    password = os.environ.get(PASSWORDS[name], "")
    parts = urlsplit(url)
    if not password or not parts.hostname:
        return url
    user, _, host = parts.netloc.rpartition("@")
    user, _, given = user.partition(":")
    if given and password not in (given, unquote(given)):
        raise ImproperlyConfigured(
            f"The password in {name} is not the one in {PASSWORDS[name]}. Remove it from {name}."
        )
    return parts._replace(netloc=f"{user}:{given or quote(password, safe='')}@{host}").geturl()
