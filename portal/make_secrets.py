"""`manage.py make_secrets FOLDER`: the files that `NAME_FILE` settings name, with new keys and passwords."""

from __future__ import annotations

import argparse
import base64
import os
import secrets
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import unquote, urlsplit

from portal import env_file
from portal.secret_files import OPTIONAL, PASSWORDS

# How the value of a new installation is made. "": it has none yet.
GENERATED: dict[str, Callable[[], str]] = {
    "SECRET_KEY": lambda: secrets.token_urlsafe(48),
    "FIELD_KEYS": lambda: "k1:" + base64.b64encode(os.urandom(32)).decode(),
    "AUDIT_KEY": lambda: secrets.token_urlsafe(48),
    "POSTGRES_PASSWORD": lambda: secrets.token_urlsafe(24),
    "REDIS_PASSWORD": lambda: secrets.token_urlsafe(24),
    **dict.fromkeys(OPTIONAL, str),
}


def make(folder: Path, environment: Mapping[str, str], *, group: int | None = None) -> list[str]:
    """Write the files that are missing, readable by their owner and `group`, and return their names. A value that
    `environment` has is used; other keys and passwords are generated. A file that exists is never changed."""
    if not folder.exists():
        folder.mkdir(mode=0o700, parents=True)
        _share(folder, group, 0o750)
    given = {**_passwords_in_urls(environment), **{name: value for name, value in environment.items() if value}}
    written = []
    for name, generate in GENERATED.items():
        file = folder / name.lower()
        if file.exists():
            continue
        file.touch(mode=0o600, exist_ok=False)
        file.write_text(f"{given.get(name) or generate()}\n", encoding="utf-8")
        _share(file, group, 0o440)
        written.append(file.name)
    return written


def _share(path: Path, group: int | None, mode: int) -> None:
    if group is not None:
        shutil.chown(path, group=group)
        path.chmod(mode)


def _passwords_in_urls(environment: Mapping[str, str]) -> dict[str, str]:
    found = {setting: urlsplit(environment.get(name, "")).password for name, setting in PASSWORDS.items()}
    return {setting: unquote(password) for setting, password in found.items() if password}


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="manage.py make_secrets", description=make.__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--group", type=int, help="ID of the group that may read the files")
    options = parser.parse_args(arguments)
    if file := env_file.path():
        env_file.load_file(file)
    written = make(options.folder, os.environ, group=options.group)
    print(f"Written to {options.folder}: {', '.join(written) or 'nothing, all files exist'}.")  # noqa: T201  a command
    return 0
