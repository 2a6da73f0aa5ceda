"""The linter refuses a migration that the release before can't run with, and says what to do."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import postgres
from tests.support.sandbox import ROOT
from tests.support.skips import require

MIGRATION = """
from django.db import migrations, models

class Migration(migrations.Migration):
    dependencies = [("notices", "0002_person")]
    operations = [{operation}]
"""
WITH_DEFAULT = "migrations.AddField('notice', 'more', models.TextField(db_default=''))"
WITHOUT_DEFAULT = "migrations.AddField('notice', 'more', models.TextField(default=''))"


@pytest.mark.long
@pytest.mark.postgres
@pytest.mark.processes
@pytest.mark.parametrize(
    ("operation", "code"),
    [
        (WITH_DEFAULT, 0),
        (WITHOUT_DEFAULT, 1),
        ("migrations.RemoveField('notice', 'title')", 1),
        ("migrations.RenameField('notice', 'title', 'head')", 1),
    ],
    ids=["with-default", "without-default", "removed", "renamed"],
)
def test_an_incompatible_migration_is_refused(operation: str, code: int, tmp_path: Path) -> None:
    require(postgres.programs(), postgres.MISSING)
    for folder in ("portal", "customers", "billing", "tests"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__", "*.gz"))
    migrations = tmp_path / "portal" / "notices" / "migrations"
    (migrations / "0099_planted.py").write_text(MIGRATION.format(operation=operation))
    done = subprocess.run(
        [sys.executable, "-m", "tests.house.migration_linter"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert ("0099_planted" in done.stdout) == ("KeepColumn" in done.stdout) == (code == 1)
