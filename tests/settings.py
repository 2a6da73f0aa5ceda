"""The portal's own settings, read from the test environment. pytest loads this module before any conftest."""

from __future__ import annotations

# ruff: noqa: F403, F405 - the names come with the star import
# isort: off
import tests.env  # noqa: F401  sets os.environ, so it comes first
from portal.settings import *
from tests.support import template

# The real hasher takes 50 ms and 100 MB for every sign-in; production's list is checked in tests/house.
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
# Tests send thousands of requests as one person. tests/access/test_person_limits.py sets limits.
PERSON_LIMITS = {}
# A client of a test asks for few files or none: they are looked for then, not all listed for each client.
WHITENOISE_AUTOREFRESH = True
# Processes that tests start must be able to open the database: a file, never memory.
if DATABASES["default"]["ENGINE"].endswith("sqlite3"):
    DATABASES["default"]["TEST"] = {"NAME": DATA_DIR / "test.sqlite3"}
    # No test cuts the power: nothing waits for the disk.
    DATABASES["default"]["OPTIONS"]["init_command"] += "PRAGMA synchronous=OFF;"
else:
    DATABASES["default"]["TEST"] = {"TEMPLATE": template.DATABASE}
    # Threads of a test share one processor with two other workers: who holds a lock may need longer than in production.
    DATABASES["default"]["OPTIONS"]["options"] += " -c lock_timeout=30000"
