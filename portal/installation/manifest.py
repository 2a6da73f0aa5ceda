"""The manifest of a backup: what it is from, what a restore needs, and the hashes that prove it whole."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from django.apps import apps
from django.conf import settings
from django.db import connection
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder

from portal import encryption
from portal.audit.models import AuditSeal
from portal.installation import epochs
from portal.installation.version import VERSION

FORMAT = 1
NAME = "manifest.json"
# The fact that names the keys of FIELD_KEYS under which secrets are stored. The process that backs up has no such key.
KEY_IDS = "key_ids"
Progress = Callable[[], None] | None
# Facts of apps above this one, by name; they are read on the snapshot that is dumped.
_FACTS: dict[str, Callable[[], Any]] = {}


def also_record(name: str, fact: Callable[[], Any]) -> None:
    """Register a fact for the manifest, JSON as it is."""
    _FACTS[name] = fact


class Unusable(Exception):
    """The backup can't be restored here. The message says why and what to do."""


@dataclass
class Manifest:
    """`bytes` and `sha256` are of the encrypted file, `dump_sha256` of what it contains. `audit_head` is the last seal
    of the audit log, as `manage.py verify_audit --head` takes it. `seal` is over all of it, with a key from AUDIT_KEY.
    """

    name: str
    snapshot_at: str
    engine: str
    server: str
    version: str
    migrations: dict[str, str]
    audit_head: str
    epoch: int
    tables: dict[str, int]
    facts: dict[str, Any]
    format: int = FORMAT
    bytes: int = 0
    sha256: str = ""
    dump_sha256: str = ""
    seal: str = field(default="")

    @property
    def backup_at(self) -> datetime:
        return datetime.fromisoformat(self.snapshot_at)

    def write(self, folder: Path) -> None:
        self.seal = self._sealed()[0]
        with (folder / NAME).open("w") as file:
            file.write(json.dumps(asdict(self), indent=1, sort_keys=True) + "\n")
            file.flush()
            os.fsync(file.fileno())

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """Return the manifest of a backup. Raises `Unusable` if it is missing, of another format, or was altered."""
        try:
            told = json.loads((folder / NAME).read_text())
            manifest = cls(**told)
        except FileNotFoundError:
            raise Unusable(f"{folder} has no {NAME}, so it is no complete backup. Choose another folder.") from None
        except (ValueError, TypeError):
            raise Unusable(f"{folder / NAME} can't be parsed. Choose another backup.") from None
        if manifest.format != FORMAT:
            raise Unusable(f"The backup has format {manifest.format}. Restore it with the release that made it.")
        if not any(hmac.compare_digest(manifest.seal, each) for each in manifest._sealed()):
            raise Unusable(
                "The manifest was altered, or the backup was made under another AUDIT_KEY. Set AUDIT_KEY to the key of "
                "that installation, or add its former key to AUDIT_KEY_FALLBACKS."
            )
        return manifest

    def check_fits(self, vendor: str) -> None:
        """Raise `Unusable` if this release, its database or its keys can't serve the backup."""
        if self.engine != vendor:
            raise Unusable(f"The backup is of {self.engine}. Set DATABASE_URL to a database of that kind.")
        known = MigrationLoader(None, ignore_no_migrations=True).disk_migrations
        for app, last in self.migrations.items():
            if (app, last) not in known:
                raise Unusable(
                    f"The backup was made by release {self.version} or a later one: migration {app}.{last} is unknown "
                    "here. Install that release first."
                )
        missing = [each for each in self.facts[KEY_IDS] if each not in encryption.key_ids()]
        if missing:
            raise Unusable(
                f"FIELD_KEYS has no key {', '.join(missing)}. Without it, stored provider keys can't be decrypted. Add "
                "it behind the current one."
            )

    def _sealed(self) -> list[str]:
        """Return the seal under AUDIT_KEY, and under the former ones."""
        told = json.dumps(asdict(self) | {"seal": ""}, sort_keys=True).encode()
        keys = (settings.AUDIT_KEY, *settings.AUDIT_KEY_FALLBACKS)
        return [hmac.new(f"backup manifest:{key}".encode(), told, hashlib.sha256).hexdigest() for key in keys]


def take(name: str, progress: Progress) -> Manifest:
    """Return the manifest of the rows as this transaction sees them, without the hashes."""
    applied = dict(sorted(MigrationRecorder(connection).applied_migrations()))  # the last one of each app
    with connection.cursor() as cursor:
        cursor.execute("SELECT now()" if connection.vendor == "postgresql" else "SELECT sqlite_version()")
        (told,) = cursor.fetchone()
    head = AuditSeal.objects.order_by("-seq").values_list("seq", "row_hash").first()
    return Manifest(
        name=name,
        snapshot_at=(told if connection.vendor == "postgresql" else datetime.now(UTC)).isoformat(),
        engine=connection.vendor,
        server=server_version(),
        version=VERSION,
        migrations=applied,
        audit_head=f"{head[0]}:{head[1]}" if head else "",
        epoch=epochs.current_epoch(),
        tables=count_rows(progress),
        facts={name: fact() for name, fact in _FACTS.items()},
    )


def count_rows(progress: Progress) -> dict[str, int]:
    """Return the number of rows of every table. Sessions are left out: a restore ends them."""
    tables = sorted({model._meta.db_table for model in apps.get_models() if model._meta.managed})
    counted: dict[str, int] = {}
    with connection.cursor() as cursor:
        there = set(connection.introspection.table_names(cursor))
        for table in tables:
            if table in there and table != "django_session":
                cursor.execute(f"SELECT count(*) FROM {connection.ops.quote_name(table)}")  # noqa: S608  names of models
                counted[table] = cursor.fetchone()[0]
                if progress:
                    progress()
    return counted


def server_version() -> str:
    with connection.cursor() as cursor:
        cursor.execute("SHOW server_version" if connection.vendor == "postgresql" else "SELECT sqlite_version()")
        return str(cursor.fetchone()[0])


def file_hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
