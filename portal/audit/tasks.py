from __future__ import annotations

from celery import shared_task

from portal.audit import chain

_CHUNK, _CHUNKS = 1000, 20


@shared_task(name="audit.seal")
def seal(**_: object) -> None:
    """Seal what is waiting. Stops when nothing is left, another sealer was first, or the next run is due anyway."""
    for _chunk in range(_CHUNKS):
        if chain.seal_pending(limit=_CHUNK) < _CHUNK:
            return
