"""An app that arms the failpoint of a process (crashing_settings.py): its functions exist when all apps are there."""

from __future__ import annotations

import os

from django.apps import AppConfig


class Crashing(AppConfig):
    name = "tests.support"
    label = "crashing"

    def ready(self) -> None:
        from tests.support import failpoints  # noqa: PLC0415  it imports models, so it comes after all apps

        failpoints.kill_at(os.environ["PORTAL_CRASH_AT"])
