"""The portal's own settings, under a clock that can be moved, with a broker that delivers everything three times."""

from __future__ import annotations

# isort: off
from tests.chaos import clock, messages
from portal.settings import *  # noqa: F403

clock.follow()
messages.deliver_thrice()
