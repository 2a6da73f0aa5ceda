"""The list of erased persons: in the database, and as a file beside the backups, which a restore doesn't take back.

A backup contains what was erased after it. Once it is restored, `manage.py repeat_erasures` finds the email addresses
whose keyed hashes are in the list, and erases them again. Nobody can read an address from the list.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import structlog
from django.conf import settings

from portal.access.models import User
from portal.commands import Command
from portal.email_addresses import mailbox_key
from portal.encryption import keyed_hashes
from portal.personal_data import all_addresses
from portal.privacy.commands import begin_request
from portal.privacy.models import ErasedSubject, SubjectRequest
from portal.privacy.subjects import Subject, contact_subject, member_subject

log = structlog.get_logger(__name__)
NAME = "erasures.jsonl"


@dataclass(frozen=True)
class Due:
    """A person to erase again: the subject, and the code under which they were erased before."""

    subject: Subject
    code: str


def list_file() -> Path:
    return Path(settings.BACKUP_DIR) / NAME


def hashes_of_address(address: str) -> list[str]:
    """Return the keyed hashes of an address, under the current key first."""
    return keyed_hashes("portal.privacy.erased", mailbox_key(address))


def add_to_list(request: SubjectRequest, subject: Subject, *, now: datetime) -> None:
    """Add a person to the list in the database. Call it in the transaction that ends the erasure."""
    hashes = sorted({hashes_of_address(address)[0] for address in subject.addresses})
    ErasedSubject.objects.create(code=request.code, user=subject.user, hashes=hashes, erased_at=now)


def write_list() -> None:
    """Write the entries of the database that the file lacks, and a log line for each. A folder that can't be written is
    a log line as well: the next erasure, or the command, writes them."""
    known = {entry["code"] for entry in read_erasures(list_file())}
    new = [entry for entry in _stored() if entry["code"] not in known]
    try:
        list_file().parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with list_file().open("a", encoding="utf-8") as file:
            file.writelines(f"{json.dumps(entry)}\n" for entry in new)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        log.warning("personal_data.list_not_written", error=str(error))
    for entry in new:
        log.info("personal_data.erased", code=entry["code"], hashes=entry["hashes"])


def _stored() -> Iterator[dict[str, Any]]:
    for row in ErasedSubject.objects.order_by("erased_at"):
        yield {"code": row.code, "erased_at": row.erased_at.isoformat(), "hashes": row.hashes}


def read_erasures(path: Path) -> list[dict[str, Any]]:
    """Return the entries of a list; a line that is none, as after a crash, is left out."""
    found = []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    for line in lines:
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict) and {"code", "hashes"} <= entry.keys():
            found.append(entry)
    return found


def due_again(paths: Iterable[Path] = ()) -> list[Due]:
    """Return who is in a list and in the database: erased before, and back by a restore."""
    by_hash: dict[str, str] = {}
    for entry in [*_stored(), *(entry for path in (list_file(), *paths) for entry in read_erasures(path))]:
        by_hash |= dict.fromkeys(entry["hashes"], entry["code"])
    found: dict[str, Due] = {}
    if not by_hash:
        return []
    for address in all_addresses():
        code = next((by_hash[each] for each in hashes_of_address(address) if each in by_hash), "")
        key = mailbox_key(address)
        if code and key not in found:
            user = User.objects.filter(email__iexact=address).first()
            found[key] = Due(member_subject(user) if user else contact_subject(address), code)
    return list(found.values())


def erase_again(command: Command, due: Iterable[Due]) -> list[SubjectRequest]:
    """Start the erasure of each. It runs in a worker, and waits there for what blocks it."""
    return [begin_request(command, subject=each.subject, erase=True) for each in due]
