"""The bench: `python -m tests.bench measure|seed|group|compare --help`.

measure    seed what is missing, measure, print one table and store it: `make bench`
seed       fill a PostgreSQL database (`manage.py seed`)
group      measure one group of figures on a seeded database
compare    print two stored runs with the change
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from importlib import import_module
from pathlib import Path

import django

from tests.bench.kept import open_month
from tests.bench.results import compared, load, store
from tests.bench.run import NAMES, run


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
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="what", required=True)
    measure, seed = commands.add_parser("measure"), commands.add_parser("seed")
    group, compare = commands.add_parser("group"), commands.add_parser("compare")
    for each in (measure, seed):
        each.add_argument("--accounts", type=int, default=100_000)
        each.add_argument("--months", type=int, default=24)
    measure.add_argument("--only", default="", help=f"groups ({', '.join(NAMES)}) or parts of names, with commas")
    group.add_argument("name", choices=NAMES)
    group.add_argument("--only", default="", help="part of the names of what is measured")
    group.add_argument("--json", type=Path, required=True, help="file for the rows")
    for each in (seed, group):
        each.add_argument("--database-url", required=True)
    compare.add_argument("before", type=Path)
    compare.add_argument("after", type=Path)
    chosen = parser.parse_args(arguments)
    if chosen.what == "compare":
        print(compared(load(chosen.before), load(chosen.after)))
        return 0
    if chosen.what == "measure":
        return run(accounts=chosen.accounts, months=chosen.months, only=chosen.only)
    with tempfile.TemporaryDirectory(prefix="postkeeper-bench-") as folder:
        use_database(chosen.database_url, folder)
        call_command = import_module("django.core.management").call_command
        call_command("migrate", verbosity=0)
        if chosen.what == "seed":
            call_command("createcachetable", verbosity=0)
            call_command("seed", accounts=chosen.accounts, months=chosen.months)
        else:
            rows = import_module("tests.bench.groups").measure_group(chosen.name, open_month(), chosen.only)
            store(rows, chosen.json)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
