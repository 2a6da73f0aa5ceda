"""Loaded by every Python under faketime (see `tests.env`): sleep without `clock_nanosleep`.

Python 3.11 sleeps until an absolute moment of the monotonic clock. libfaketime 0.9.10 corrects that moment even where
it is told to leave the monotonic clock alone, and the sleep fails with "Invalid argument".
"""

import select
import time


def _sleep(seconds: float, /) -> None:
    if seconds < 0:
        raise ValueError("sleep length must be non-negative")
    select.select([], [], [], seconds)


time.sleep = _sleep
