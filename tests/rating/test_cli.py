"""`manage.py rate`: without settings, without a database, and with one sentence for a bad file."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from billing.pricing.rating.cli import main

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "docs" / "examples" / "rating" / "r03-segments.json"


def test_it_runs_without_settings_and_without_a_database() -> None:
    """No variable of the environment names a secret or a database. What is printed to errors is nothing."""
    search = [path for path in sys.path if path]
    ran = subprocess.run(
        [sys.executable, "manage.py", "rate", "-"],
        cwd=ROOT, env={"PYTHONPATH": ":".join(search)}, input=EXAMPLE.read_bytes(), capture_output=True, check=False,
    )  # fmt: skip
    assert (ran.returncode, ran.stderr) == (0, b"")
    assert json.loads(ran.stdout)["total"]["amount"] == "230.00"


def test_the_engine_loads_no_django() -> None:
    code = "import sys, billing.pricing.rating.cli; print([each for each in sys.modules if each == 'django'])"
    search = [str(ROOT), *(path for path in sys.path if path)]
    ran = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": ":".join(search)}, capture_output=True, check=True
    )
    assert ran.stdout == b"[]\n"


def test_the_command_touches_no_database() -> None:
    """The test has no mark for a database, so a query would fail."""
    out = io.StringIO()
    call_command("rate", str(EXAMPLE), stdout=out)
    assert json.loads(out.getvalue())["total"]["amount"] == "230.00"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "case: is not JSON: "),
        (b"[]", "case: a list is not an object."),
        (b"\xff", "is not text in UTF-8."),
        (b'{"side": "sell", "currency": "EUR", "month": "2026-11", "accounts": 1}', "accounts: 1 is not a list."),
        (None, "can't be read: No such file or directory."),
    ],
    ids=["json", "list", "bytes", "form", "absent"],
)
def test_a_bad_file_gives_one_sentence(
    content: bytes | None, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "case.json"
    if content is not None:
        file.write_bytes(content)
    assert main([str(file)]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err
    assert err.count("\n") == 1
    with pytest.raises(CommandError) as refused:
        call_command("rate", str(file))
    assert str(refused.value) == err.strip()


def test_a_byte_order_mark_is_no_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "case.json"
    file.write_bytes(b"\xef\xbb\xbf" + EXAMPLE.read_bytes())
    assert main([str(file)]) == 0
    assert json.loads(capsys.readouterr().out)["findings"] == []
