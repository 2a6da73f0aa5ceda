"""`manage.py make_backup_identity FILE`: the key pair of backups. It runs without settings, which a machine apart from
the installation lacks."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import pyrage


def new_identity(path: Path) -> str:
    """Write a new identity to a file that only its owner can read, and return its public key."""
    identity = pyrage.x25519.Identity.generate()
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(f"# public key: {identity.to_public()}\n{identity}\n")
    return str(identity.to_public())


def main(arguments: list[str]) -> int | str:
    """Return the exit code, or a sentence about the error."""
    parser = argparse.ArgumentParser(prog="manage.py make_backup_identity", description=new_identity.__doc__)
    parser.add_argument("file", type=Path)
    file = parser.parse_args(arguments).file
    try:
        public = new_identity(file)
    except FileExistsError:
        return f"{file} exists. Choose another name: without that file its backups are lost."
    except OSError as error:
        return f"{file} can't be written: {error.strerror}."
    advice = f"Move {file} to a safe place away from this machine. Without it no backup can be restored."
    print(f"BACKUP_RECIPIENTS={public}")  # noqa: T201  a command
    print(advice, file=sys.stderr)  # noqa: T201  a command
    return 0
