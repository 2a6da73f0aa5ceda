"""Every message three times, as a broker may deliver it: the worker processes meet at each row, and one of them has it.

With one message a row they hardly ever do. A claim that two workers could take went unseen for so long because of that.
"""

from __future__ import annotations

from typing import Any

from celery import current_app
from celery.signals import after_task_publish

COPIES = 3
_COPY = "chaos_copy"


def deliver_thrice() -> None:
    """From now on, in this process and in those it forks."""
    after_task_publish.connect(_copy, weak=False)


def _copy(sender: str, headers: dict[str, Any], body: tuple[Any, ...], **_: Any) -> None:
    if headers.get(_COPY):
        return
    args, kwargs, _embed = body
    for _n in range(COPIES - 1):
        current_app.send_task(sender, args=args, kwargs=kwargs, headers={_COPY: True})
