"""The portal's own settings, under a clock that can be moved."""

from __future__ import annotations

# isort: off
from tests.chaos import clock
from portal.settings import *  # noqa: F403

clock.follow()
