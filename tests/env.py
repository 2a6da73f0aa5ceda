"""The environment of the test run, set before any settings are read. All keys here are made up for it."""

from __future__ import annotations

import base64
import os
import tempfile
from pathlib import Path

KEYS = {
    "PORTAL_ENV": "development",
    "PORTAL_DEMO": "0",
    "SECRET_KEY": "test-only-secret-key-that-signs-nothing-outside-the-test-run-0123456789",
    "FIELD_KEYS": "t1:" + base64.b64encode(b"test-only-field-key-of-32-bytes!").decode(),
    "AUDIT_KEY": "test-only-audit-key-of-enough-length-0123456789",
    "EMAIL_URL": "memorymail://",
    "LOG_LEVEL": "WARNING",
}


def _set() -> None:
    os.environ.update(KEYS)
    for name in ("REDIS_URL", "CACHE_URL", "DEBUG", "SECRET_KEY_FALLBACKS", "ALLOWED_HOSTS"):
        os.environ.pop(name, None)
    # Workers of one run share the folder's parent, never the folder: broker files and databases stay apart.
    parent = os.environ.setdefault("TEST_RUN_DIR", tempfile.mkdtemp(prefix="postkeeper-test-"))
    worker = os.environ.get("PYTEST_XDIST_WORKER", "main")
    data = Path(parent, worker)
    data.mkdir(parents=True, exist_ok=True)
    os.environ["DATA_DIR"] = str(data)
    if os.environ.get("TEST_DATABASE", "sqlite") == "sqlite":
        os.environ["DATABASE_URL"] = f"sqlite:///{data}/portal.sqlite3"


_set()
