"""The portal's own settings, for a process that kills itself at the point that PORTAL_CRASH_AT names."""

from __future__ import annotations

# ruff: noqa: F403, F405 - the names come with the star import
from portal.settings import *

INSTALLED_APPS = [*INSTALLED_APPS, "tests.support.crashing.Crashing"]
