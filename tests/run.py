"""`make test`: the whole suite on SQLite, then all that has to do with tables once more on PostgreSQL.

Further arguments go to pytest: `python -m tests.run -k suspend`. Exit code 0 only when both runs passed.
"""

from __future__ import annotations

import os
import subprocess
import sys

from tests.support import postgres

# Rooms without a table, and one that starts whole installations on databases of its own choice: a second run on
# another database would say the same again.
NO_TABLES = tuple(f"--ignore=tests/{room}" for room in ("providers", "sandbox", "ui", "journeys"))
WORKERS = ("-n", "2", "--dist", "loadgroup")


def main(arguments: list[str]) -> int:
    """Stops at the first run that fails, so that the last line printed is the verdict."""
    runs = {"sqlite": ("-q",), "postgres": ("-q", "-m", "not browser", *NO_TABLES)}
    if postgres.programs() is None:
        print(f"NOT RUN on PostgreSQL: {postgres.MISSING}", flush=True)
        if os.environ.get("NO_SKIPS") == "1":
            return 1
        del runs["postgres"]
    return next((code for database, own in runs.items() if (code := _pytest(database, *own, *arguments))), 0)


def _pytest(database: str, *arguments: str) -> int:
    print(f"\n=== The suite on {database} ===", flush=True)
    command = [sys.executable, "-m", "pytest", *WORKERS, *arguments]
    code = subprocess.run(command, env={**os.environ, "TEST_DATABASE": database}, check=False).returncode
    return 0 if code == 5 and database == "postgres" else code  # 5: nothing of the selection is for here


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
