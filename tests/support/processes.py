"""What a process that a test starts needs to reach the test's own database."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from django.db import connection

from tests.env import KEYS

ROOT = Path(__file__).resolve().parents[2]


def database_url() -> str:
    """The address of the database that the test at hand writes to."""
    facts = connection.settings_dict
    if connection.vendor == "sqlite":
        return f"sqlite:///{facts['NAME']}"
    return f"postgres://{facts['USER']}@{facts['HOST']}:{facts['PORT']}/{facts['NAME']}"


def told_by(story: str, database: str, folder: Path) -> dict[str, Any]:
    """Run lines of Python in a process of its own on `database`, and return the JSON object that they print."""
    environment = {
        **{name: value for name, value in os.environ.items() if name != "REDIS_URL"}, **KEYS,
        "DATABASE_URL": database, "DATA_DIR": str(folder), "DJANGO_SETTINGS_MODULE": "portal.settings",
        "PORTAL_STATEMENT_SECONDS": "0",
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", story], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout)
    return found
