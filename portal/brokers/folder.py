"""kombu's folder broker with atomic writing of messages.

kombu creates a message's file and writes it afterwards; a worker that lists the folder in between reads an empty file
and stops ("Unrecoverable error: JSONDecodeError"). Here it is written under a name that is not listed, and renamed. The
oldest messages of a full queue are dropped, as with Redis.
"""

from __future__ import annotations

import uuid
from pathlib import Path
from time import monotonic_ns
from typing import Any

from kombu.exceptions import ChannelError
from kombu.transport import TRANSPORT_ALIASES, filesystem
from kombu.utils import json

from portal.queue_settings import LONGEST

SCHEME = "folder"


class FolderChannel(filesystem.Channel):
    def _put(self, queue: str, payload: Any, **_: Any) -> None:  # type: ignore[override]
        folder = Path(self.data_folder_out)
        whole = folder / f"{monotonic_ns()}_{uuid.uuid4()}.{queue}.msg"
        unfinished = whole.with_suffix(".part")
        try:
            unfinished.write_text(json.dumps(payload))  # type: ignore[no-untyped-call]
            unfinished.replace(whole)
            self._drop_oldest(folder, queue)
        except OSError as error:
            raise ChannelError(f"Cannot add {whole}") from error

    def _drop_oldest(self, folder: Path, queue: str) -> None:
        waiting = [each for each in folder.iterdir() if each.name.partition(".")[2] == f"{queue}.msg"]
        if len(waiting) > LONGEST:
            for each in sorted(waiting, key=lambda path: int(path.name.partition("_")[0]))[:-LONGEST]:
                each.unlink(missing_ok=True)


class FolderTransport(filesystem.Transport):
    Channel = FolderChannel


TRANSPORT_ALIASES[SCHEME] = f"{__name__}:FolderTransport"
