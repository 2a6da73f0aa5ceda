"""The key pair of backups, made where no setting of the portal is known."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from portal.installation import archive
from tests.house.test_deploy import PRODUCTION, _run

pytestmark = pytest.mark.processes


def test_a_key_pair_is_made_without_settings(tmp_path: Path) -> None:
    file, env = tmp_path / "identity.txt", {"PATH": PRODUCTION["PATH"], "PORTAL_ENV_FILE": ""}
    done = _run("manage.py", "make_backup_identity", str(file), env=env)
    (identity,) = archive.identities(file)
    assert done.stdout == f"BACKUP_RECIPIENTS={identity.to_public()}\n", done.stderr
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    again = _run("manage.py", "make_backup_identity", str(file), env=env)
    assert (again.returncode, again.stdout) == (1, "")
    assert "exists. Choose another name" in again.stderr
    assert str(archive.identities(file)[0]) == str(identity)
