from __future__ import annotations

from celery import shared_task

from portal.audit import chain, head

_CHUNK, _CHUNKS = 1000, 20


@shared_task(name="audit.seal")
def seal(**_: object) -> None:
    """Seal pending events. Stops if none is left, another sealer was first, or the next run is due."""
    for _chunk in range(_CHUNKS):
        if chain.seal_pending(limit=_CHUNK) < _CHUNK:
            return


@shared_task(name="audit.log_head")
def log_head(**_: object) -> None:
    """Log the head of the audit log."""
    head.log_head()
