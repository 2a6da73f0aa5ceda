"""Messages to the workers, as they leave for the broker."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from celery import current_app
from django.test import TestCase


@contextmanager
def sent() -> Iterator[list[tuple[Any, ...]]]:
    """What is sent within, as (task, *ids); none arrives. Complete after the block: messages leave on commit, and the
    transaction of a test, which never commits, counts as committed there."""
    messages: list[tuple[Any, ...]] = []

    def send(task: str, args: tuple[int, ...] = (), **_: Any) -> None:
        messages.append((task, *args))

    with patch.object(current_app, "send_task", send), TestCase.captureOnCommitCallbacks(execute=True):
        yield messages
