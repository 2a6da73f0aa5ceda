"""The portal's own settings, for processes that fail where a test says so, with secrets at hand (canary_crashes.py)."""

from __future__ import annotations

# ruff: noqa: F403, F405 - the names come with the star import
from portal.settings import *

INSTALLED_APPS = [*INSTALLED_APPS, "tests.support.canary_crashes.Crashes"]
MIDDLEWARE = [*MIDDLEWARE, "tests.support.canary_crashes.crashing_view"]
