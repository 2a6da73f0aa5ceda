"""`make test`: the whole suite on SQLite, then all that has to do with tables once more on PostgreSQL.

Further arguments go to pytest: `python -m tests.run -k suspend`. Exit code 0 only when both runs passed.
"""

from __future__ import annotations

import os
import subprocess
import sys

from tests.support import postgres

# Rooms without a table: a second run on another database would say the same again.
NO_TABLES = tuple(f"--ignore=tests/{room}" for room in ("providers", "sandbox", "ui"))
WORKERS = ("-n", "2", "--dist", "loadgroup")


def main(arguments: list[str]) -> int:
    failed = _pytest("sqlite", *WORKERS, *arguments)
    if postgres.programs() is None:
        print(f"NOT RUN on PostgreSQL: {postgres.MISSING}", flush=True)
        return failed or int(os.environ.get("NO_SKIPS") == "1")
    return _pytest("postgres", *WORKERS, "-m", "not browser", *NO_TABLES, *arguments) or failed


def _pytest(database: str, *arguments: str) -> int:
    print(f"\n=== The suite on {database} ===", flush=True)
    env = {**os.environ, "TEST_DATABASE": database}
    code = subprocess.run([sys.executable, "-m", "pytest", "-q", *arguments], env=env, check=False).returncode
    return 0 if code == 5 and arguments[len(WORKERS) :] else code  # 5: the selection left nothing here


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
