"""`manage.py rate FILE`: rates a case and prints its statement lines as JSON, without settings and database."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from billing.pricing.rating.adjusted import adjustments_of, adjustments_to_json
from billing.pricing.rating.case_json import case_from_json, load_json
from billing.pricing.rating.engine import rate
from billing.pricing.rating.json_form import CaseError
from billing.pricing.rating.lines import result_to_json

HELP = "Rate a case and print its statement lines as JSON. Touches no database. See docs/reference/rating-case.md."
FILE_HELP = "file with the rating case as JSON; - reads standard input"


class UnableToRate(Exception):
    """The file can't be read, or is not a rating case. The message is one sentence."""


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="manage.py rate", description=HELP)
    parser.add_argument("file", help=FILE_HELP)
    try:
        sys.stdout.write(f"{rated(parser.parse_args(arguments).file)}\n")
    except UnableToRate as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def rated(file: str) -> str:
    """Rate the case in a file, or on standard input if that is `-`, and return the result as JSON.

    Raise UnableToRate.
    """
    try:
        content = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
        case = case_from_json(load_json(content.decode("utf-8-sig")))
    except OSError as error:
        raise UnableToRate(f"{file} can't be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise UnableToRate(f"{file} is not text in UTF-8.") from None
    except CaseError as error:
        raise UnableToRate(str(error)) from None
    result = result_to_json(rate(case))
    if case.late_figures:
        result["adjustments"] = adjustments_to_json(adjustments_of(case))
    return json.dumps(result, indent=2)
