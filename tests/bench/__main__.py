"""Seed a PostgreSQL database, or measure on one: `python -m tests.bench seed|measure --help`."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from datetime import UTC, date, datetime
from importlib import import_module

import django

from tests.support.postgres import Postgres


def use_database(url: str, folder: str) -> None:
    """Let Django's settings be those of the tests, with the database at `url`."""
    os.environ |= {
        "DATABASE_URL": url,
        "TEST_DATABASE": "postgres",
        "TEST_RUN_DIR": folder,
        "DJANGO_SETTINGS_MODULE": "tests.settings",
    }
    django.setup()


def main(arguments: list[str]) -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("what", choices=("seed", "measure"))
    options.add_argument("--accounts", type=int, default=100_000)
    options.add_argument("--months", type=int, default=24)
    options.add_argument(
        "--last", type=date.fromisoformat, default=datetime.now(UTC).date().replace(day=1), help="the open month"
    )
    options.add_argument("--only", default="", help="part of the names of the pages to measure")
    options.add_argument("--database-url", default="", help="default: a server of its own that is removed at the end")
    chosen = options.parse_args(arguments)
    own = None if chosen.database_url else Postgres()
    try:
        with tempfile.TemporaryDirectory(prefix="postkeeper-bench-") as folder:
            if own:
                own.start()
            use_database(chosen.database_url or (own.url if own else ""), folder)
            return _run(chosen, is_new=own is not None)
    finally:
        if own:
            own.remove()


def _run(chosen: argparse.Namespace, *, is_new: bool) -> int:
    if is_new or chosen.what == "seed":
        management = import_module("django.core.management")
        management.call_command("migrate", verbosity=0)
        management.call_command("createcachetable", verbosity=0)
        import_module("tests.bench.seed").seed(accounts=chosen.accounts, months=chosen.months, last=chosen.last)
    if chosen.what == "seed":
        return 0
    return int(import_module("tests.bench.measure").measure(chosen.last, chosen.only))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
