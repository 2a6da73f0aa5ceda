"""Backups as folders: `database.age`, the dump encrypted for the recipients by age (age-encryption.org), and
`manifest.json`. The portal can encrypt and not decrypt: the identity is needed for a restore alone, and is kept
elsewhere."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import monotonic
from typing import IO

import pyrage
import structlog
from django.conf import settings
from django.db import connection

from portal.installation import manifest as manifests
from portal.installation.databases import database, is_empty
from portal.installation.manifest import Manifest, Unusable
from portal.installation.models import Backup
from portal.secret_files import UNUSED

log = structlog.get_logger(__name__)
FILE = "database.age"
# However old they are, so many backups stay.
KEPT_AT_LEAST = 3
# A folder of another name is somebody else's.
NAMED = re.compile(r"\d{8}T\d{6}Z")
PROGRESS_SECONDS = 10.0


class _Hashing:
    """A stream that hashes what passes, and tells `progress` every few seconds that something does."""

    def __init__(self, stream: IO[bytes], progress: Callable[[], None] | None = None) -> None:
        self._stream, self.hash = stream, hashlib.sha256()
        self._progress, self._told_at = progress, monotonic()

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(size)
        if self._progress and monotonic() > self._told_at + PROGRESS_SECONDS:
            self._progress()
            self._told_at = monotonic()
        self.hash.update(data)
        return data

    def write(self, data: bytes) -> int:
        self.hash.update(data)
        return self._stream.write(data)

    def flush(self) -> None:
        self._stream.flush()


def recipients() -> list[pyrage.x25519.Recipient]:
    """Return the keys that backups are encrypted for. Raises `Unusable`."""
    if not settings.BACKUP_RECIPIENTS:
        raise Unusable(
            "BACKUP_RECIPIENTS is not set. Run: python manage.py make_backup_identity FILE, keep that file away from "
            "this machine, and set BACKUP_RECIPIENTS to the key that the command prints."
        )
    try:
        return [pyrage.x25519.Recipient.from_str(each) for each in settings.BACKUP_RECIPIENTS]
    except pyrage.RecipientError:
        raise Unusable("BACKUP_RECIPIENTS contains something else than a public key of age (age1...).") from None


def identities(path: Path) -> list[pyrage.x25519.Identity]:
    """Return the identities in a file, as age-keygen writes it. Raises `Unusable`."""
    try:
        lines = [each.strip() for each in path.read_text().splitlines()]
        return [pyrage.x25519.Identity.from_str(each) for each in lines if each and not each.startswith("#")]
    except (OSError, UnicodeDecodeError, pyrage.IdentityError):
        raise Unusable(f"{path} is no readable file with an identity of age (AGE-SECRET-KEY-...).") from None


def back_up(*, now: datetime, progress: Callable[[], None] | None = None) -> Manifest:
    """Make a backup, record it, and delete those that are too old. Raises `Unusable`; that is recorded as well.
    `progress` is called every few seconds while rows are written."""
    name = f"{now.astimezone(UTC):%Y%m%dT%H%M%SZ}"
    try:
        manifest = _write(name, progress)
    except (Unusable, OSError, pyrage.EncryptError) as error:
        why = str(error)
        if not isinstance(error, Unusable):
            why = f"{settings.BACKUP_DIR} can't be written ({why}). Check its owner and the space on its disk."
        Backup.objects.create(name=name, started_at=now, finished_at=_now(), error=why[:500])
        log.warning("backup.failed", name=name, error=why)
        raise Unusable(why) from error
    Backup.objects.create(name=name, started_at=now, finished_at=_now(), bytes=manifest.bytes)
    log.info("backup.finished", name=name, bytes=manifest.bytes)
    delete_old(now=now)
    return manifest


def _write(name: str, progress: Callable[[], None] | None) -> Manifest:
    keys = recipients()
    if settings.AUDIT_KEY == UNUSED:
        raise Unusable("This process has no AUDIT_KEY, so it can't seal a backup.")
    folder = settings.BACKUP_DIR
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _alone(folder):
        return _write_alone(name, folder, keys, progress)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Lock the folder against another backup at the same time. Raises `Unusable`."""
    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Unusable("Another backup is running. Wait for its end.") from None
        yield


def _write_alone(
    name: str, folder: Path, keys: list[pyrage.x25519.Recipient], progress: Callable[[], None] | None
) -> Manifest:
    for left in folder.glob(".*.part"):
        shutil.rmtree(left)
    part = folder / f".{name}.part"
    part.mkdir(mode=0o700)
    try:
        with (part / FILE).open("wb") as file:
            hashing, encrypted = [], _Hashing(file)

            def encrypt(dump: IO[bytes]) -> None:
                hashing.append(_Hashing(dump, progress))
                pyrage.encrypt_io(hashing[0], encrypted, keys)

            manifest = database().dump(name, encrypt, progress)
            file.flush()
            os.fsync(file.fileno())
        manifest.bytes = (part / FILE).stat().st_size
        manifest.sha256 = encrypted.hash.hexdigest()
        manifest.dump_sha256 = hashing[0].hash.hexdigest()
        manifest.write(part)
        part.rename(folder / name)
        _sync(folder)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    return manifest


def _sync(folder: Path) -> None:
    """Let the names in the folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def delete_old(*, now: datetime) -> list[str]:
    """Delete complete backups older than `BACKUP_KEEP_DAYS`, but not the last few. Returns their names."""
    there = (each.parent for each in settings.BACKUP_DIR.glob(f"*/{manifests.NAME}"))
    complete = sorted(each for each in there if NAMED.fullmatch(each.name))
    before = f"{now.astimezone(UTC) - timedelta(days=settings.BACKUP_KEEP_DAYS):%Y%m%dT%H%M%SZ}"
    old = [each for each in complete[:-KEPT_AT_LEAST] if each.name < before]
    for each in old:
        shutil.rmtree(each)
        log.info("backup.deleted", name=each.name)
    return [each.name for each in old]


def verify(folder: Path, keys: list[pyrage.x25519.Identity] | None = None) -> Manifest:
    """Return the manifest of a backup that is whole and fits this installation. With `keys` it is decrypted as well.
    Raises `Unusable`."""
    manifest = Manifest.read(folder)
    if manifests.file_hash(folder / FILE) != manifest.sha256:
        raise Unusable(f"{folder / FILE} was damaged: its SHA-256 isn't that of the manifest. Choose another backup.")
    if keys is not None:
        with Path(os.devnull).open("wb") as nowhere:
            _decrypt(folder, manifest, keys, nowhere)
    return manifest


def restore(folder: Path, keys: list[pyrage.x25519.Identity], *, then: Callable[[Manifest], Iterable[str]]) -> Manifest:
    """Restore a backup into the empty database in use, together with the SQL statements of `then`. Raises `Unusable`,
    and has changed nothing then."""
    manifest = verify(folder)
    manifest.check_fits(connection.vendor)
    if not is_empty():
        raise Unusable(
            "The database has tables already. Create an empty one and set DATABASE_URL to it: the old one stays as it "
            "is. See docs/how-to/back-up-and-restore.md."
        )
    database().restore(lambda stream: _decrypt(folder, manifest, keys, stream), then(manifest))
    return manifest


def _decrypt(folder: Path, manifest: Manifest, keys: list[pyrage.x25519.Identity], to: IO[bytes]) -> None:
    hashing = _Hashing(to)
    with (folder / FILE).open("rb") as file:
        try:
            pyrage.decrypt_io(file, hashing, keys)
        except pyrage.DecryptError:
            raise Unusable("The identity doesn't fit: the backup was encrypted for another one.") from None
    if hashing.hash.hexdigest() != manifest.dump_sha256:
        raise Unusable("The decrypted dump isn't that of the manifest. Choose another backup.")


def last_good() -> Backup | None:
    return Backup.objects.filter(error="").first()


def _now() -> datetime:
    return datetime.now(UTC)
