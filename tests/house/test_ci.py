"""`.ci/run` points the tests to the providers' own files where a machine has them, and nowhere else."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.sandbox import ROOT

PROGRAMS = ("make", "chromium", "redis-server", "faketime", "initdb", "caddy", "systemd-analyze", "apt-get", "sudo")


@pytest.mark.parametrize("present", [True, False])
def test_it_points_to_the_contracts_that_are_there(tmp_path: Path, present: bool) -> None:
    checkout, programs = tmp_path / "checkout", tmp_path / "bin"
    for folder in (checkout / ".ci", checkout / ".venv" / "bin", programs):
        folder.mkdir(parents=True)
    shutil.copy(ROOT / ".ci" / "run", checkout / ".ci" / "run")
    for program in (*(programs / name for name in PROGRAMS), checkout / ".venv" / "bin" / "python"):
        program.write_text('#!/bin/sh\necho "$(basename "$0") $* CONTRACTS_DIR=$CONTRACTS_DIR"\n')
        program.chmod(0o755)
    if present:
        (tmp_path / "shared" / "contracts").mkdir(parents=True)
    env = {"PATH": f"{programs}:{os.environ['PATH']}", "HOME": str(tmp_path)}
    done = subprocess.run(["bash", str(checkout / ".ci" / "run")], env=env, capture_output=True, text=True, check=True)
    expected = tmp_path / "shared" / "contracts" if present else ""
    assert done.stdout.splitlines()[-1] == f"make test CONTRACTS_DIR={expected}"
