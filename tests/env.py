"""The environment of the test run, set before any settings are read. All keys here are made up for it."""

from __future__ import annotations

import atexit
import base64
import os
import shutil
import sys
import tempfile
from pathlib import Path

from tests.support import faketime, template
from tests.support.postgres import Postgres

KEYS = {
    # A developer's own .env is never read.
    "PORTAL_ENV_FILE": "",
    "PORTAL_ENV": "development",
    "SECOND_FACTOR_ROLES": "",  # most tests begin with a session; tests/access asks for second factors
    "PORTAL_DEMO": "0",
    "SECRET_KEY": "test-only-secret-key-that-signs-nothing-outside-the-test-run-0123456789",
    "FIELD_KEYS": "t1:" + base64.b64encode(b"test-only-field-key-of-32-bytes!").decode(),
    "AUDIT_KEY": "test-only-audit-key-of-enough-length-0123456789",
    "EMAIL_URL": "memorymail://",
    "LOG_LEVEL": "WARNING",
    # pytest-playwright runs an event loop in the test's thread; nothing here is asynchronous.
    "DJANGO_ALLOW_ASYNC_UNSAFE": "true",
}
FOREIGN = ("REDIS_URL", "CACHE_URL", "DEBUG", "SECRET_KEY_FALLBACKS", "AUDIT_KEY_FALLBACKS", "ALLOWED_HOSTS",
           "CSRF_TRUSTED_ORIGINS", "LOOPBACK_ONLY", "WEB_BIND", "PORTAL_URL", "OIDC_ISSUER")  # fmt: skip


def _set() -> None:
    os.environ.update(KEYS)
    # A run starts hundreds of Python processes; without kept bytecode each would compile Django anew.
    sys.dont_write_bytecode = False
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    for name in FOREIGN:
        os.environ.pop(name, None)
    faketime.same_everywhere()
    first = "TEST_RUN_DIR" not in os.environ  # xdist's workers and processes that tests start come later
    if first:
        os.environ["TEST_RUN_DIR"] = tempfile.mkdtemp(prefix="postkeeper-test-")
        atexit.register(_remove, os.environ["TEST_RUN_DIR"], os.getpid())
    # Workers of one run share the folder's parent, never the folder: broker files and databases stay apart.
    data = Path(os.environ["TEST_RUN_DIR"], os.environ.get("PYTEST_XDIST_WORKER", "main"))
    data.mkdir(parents=True, exist_ok=True)
    os.environ["DATA_DIR"] = str(data)
    if os.environ.get("TEST_DATABASE", "sqlite") == "sqlite":
        os.environ["DATABASE_URL"] = f"sqlite:///{data}/portal.sqlite3"
    elif first:
        _start_postgres()


def _start_postgres() -> None:
    server = Postgres()
    server.start()
    atexit.register(server.remove)
    os.environ["DATABASE_URL"] = server.url
    template.prepare(server)


def _remove(folder: str, owner: int) -> None:
    if os.getpid() == owner:  # a forked child runs its parent's exit hooks too
        shutil.rmtree(folder, ignore_errors=True)


_set()
