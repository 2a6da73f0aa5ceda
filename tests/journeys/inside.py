"""A process inside an installation that runs given lines, so that a look into its database needs no start of Django.

`python -m tests.journeys.inside`: code comes as one JSON string on a line of standard input; what it printed, or its
traceback, goes out as one JSON list of two on a line of standard output.
"""

from __future__ import annotations

import io
import json
import sys
import traceback
from contextlib import redirect_stdout

import django
from django.db import connections


def run(code: str) -> list[str]:
    said = io.StringIO()
    try:
        with redirect_stdout(said):
            exec(code, {"__name__": "inside"})  # noqa: S102  the tests' own lines
    except Exception:  # noqa: BLE001  whatever it is, the test is told
        return ["", traceback.format_exc()]
    finally:
        connections.close_all()  # the server may be restarted before the next look
    return [said.getvalue(), ""]


if __name__ == "__main__":
    django.setup()
    for line in sys.stdin:
        print(json.dumps(run(json.loads(line))), flush=True)  # noqa: T201
