"""The documents: links lead somewhere, guides are listed, and the reference names what exists."""

from __future__ import annotations

import re
import tomllib
from functools import cache
from pathlib import Path
from textwrap import dedent

import pytest
from django.conf import settings
from django.core.management import get_commands

from billing.models import SyncRun
from customers.models import ChangeSet
from customers.models.account import AccountState
from customers.models.operation_states import STEPS, OperationKind
from manage import WITHOUT_SETTINGS
from portal.access.permission_labels import LABELS
from portal.secret_files import PASSWORDS
from tests.house.test_source import OUR_FOLDERS, ROOT, _tracked

HELP, REFERENCE = ROOT / "docs" / "help", ROOT / "docs" / "reference"
DOCUMENTS = sorted(path for path in _tracked() if path.suffix == ".md")
FENCE = re.compile(r"^( *)```.*?^\1```$", re.MULTILINE | re.DOTALL)
SHELL = re.compile(r"^ *```sh\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#{1,6} (.+)$", re.MULTILINE)
VARIABLE = re.compile(r'(?:env\.\w+|\b_[a-z]+|listed|whole_number|environ\.get)\(\s*"([A-Z][A-Z0-9_]+)"')


@cache
def _text(path: Path) -> str:
    return FENCE.sub("", path.read_text())


@cache
def _anchors(path: Path) -> frozenset[str]:
    """Return the anchors of the headings, as GitHub makes them."""
    found: dict[str, int] = {}
    for heading in HEADING.findall(_text(path)):
        words = LINK.sub(lambda link: link[0][link[0].index("[") + 1 : link[0].index("]")], heading)
        slug = re.sub(r"[^\w\- ]", "", words.strip().lower()).replace(" ", "-")
        found[slug] = found.get(slug, -1) + 1
    return frozenset(f"{slug}-{n}" if n else slug for slug, last in found.items() for n in range(last + 1))


def _leads_nowhere(document: Path, link: str) -> bool:
    if re.match(r"[a-z][a-z0-9+.-]*:", link):
        return False
    place, _, anchor = link.partition("#")
    target = (document.parent / place).resolve() if place else document
    return not target.exists() or bool(anchor and (target.suffix != ".md" or anchor not in _anchors(target)))


def _rows(name: str, section: str = "") -> list[list[str]]:
    """Return the cells of the tables of a reference page, or of one section of it, without their heads."""
    text = (REFERENCE / name).read_text()
    if section:
        text = text.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    lines = [line for line in text.splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def _codes(rows: list[list[str]]) -> list[str]:
    return [code for row in rows for code in re.findall(r"`([^`]+)`", row[0])]


# --- Links ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_somewhere(document: Path) -> None:
    assert [link for link in LINK.findall(_text(document)) if _leads_nowhere(document, link)] == []


def test_every_guide_is_listed() -> None:
    """The index is the table of contents in the portal; a guide that it lacks is found by nobody."""
    listed = re.findall(r"^- \[[^\]]+\]\(([a-z0-9-]+\.md)\): \S.*\.$", (HELP / "README.md").read_text(), re.MULTILINE)
    assert sorted(listed) == sorted(path.name for path in HELP.glob("*.md") if path.name != "README.md")


@pytest.mark.parametrize("guide", sorted(HELP.glob("[a-z]*.md")), ids=lambda path: path.stem)
def test_a_guide_has_a_title_a_summary_and_sections(guide: Path) -> None:
    """The portal takes a guide apart into these."""
    title, summary, first, *_ = guide.read_text().split("\n\n")
    assert re.fullmatch(r"# \S.*", title)
    assert "\n" not in summary
    assert not summary.startswith(("#", "|", "-", "1."))
    assert first.startswith("## ")
    headings = HEADING.findall(_text(guide))
    assert len({heading.lower() for heading in headings}) == len(headings), "two sections with one anchor"


def test_the_tutorial_has_the_commands_of_the_guide() -> None:
    """The guide's commands are run by a test; the tutorial repeats them for a first time."""
    guide, tutorial = (
        [dedent(block) for block in SHELL.findall((ROOT / "docs" / name).read_text())]
        for name in ("how-to/run-without-docker.md", "tutorials/first-real-key.md")
    )
    assert tutorial
    assert [block for block in tutorial if block not in guide] == []


# --- Reference --------------------------------------------------------------------------------------------------------


def test_every_setting_is_in_the_reference_and_nothing_else() -> None:
    sources = ["gunicorn.py", *(path.name for path in (ROOT / "portal").glob("*settings.py")), "environment.py"]
    read = {name for source in sources for name in VARIABLE.findall((ROOT / "portal" / source).read_text())}
    read |= set(PASSWORDS.values())
    rows = _rows("settings.md")
    of_one_command = _codes(_rows("settings.md", "Read by one command only"))
    assert sorted(_codes(rows)) == sorted(read | set(of_one_command))
    assert read.isdisjoint(of_one_command)


@pytest.mark.parametrize("cells", _rows("settings.md", "Read by one command only"), ids=lambda cells: cells[0])
def test_what_one_command_reads_is_read_by_it(cells: list[str]) -> None:
    name, reader = (cell.strip("`") for cell in cells[:2])
    places = {"make run": "portal/demo/run.py"}
    command = reader.removeprefix("manage.py ")
    commands = (path for folder in OUR_FOLDERS for path in (ROOT / folder).rglob(f"commands/{command}.py"))
    paths = [ROOT / places[reader]] if reader in places else list(commands)
    assert any(re.search(rf'environ\.get\("{name}"', path.read_text()) for path in paths)


def test_every_command_is_in_the_reference_and_nothing_else() -> None:
    """Some are no commands of Django: manage.py starts them without settings."""
    ours = {name for name, app in get_commands().items() if str(app).partition(".")[0] in OUR_FOLDERS}
    named = {code.split()[1] for code in _codes(_rows("commands.md")) if code.startswith("manage.py ")}
    assert named - (WITHOUT_SETTINGS.keys() - ours) - {"check", "migrate", "collectstatic"} == ours
    targets = set(re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {code.split()[1] for code in _codes(_rows("commands.md")) if code.startswith("make ")} <= targets


def test_permissions_by_role_are_those_of_the_file() -> None:
    declared = tomllib.loads((ROOT / "portal" / "access" / "permissions.toml").read_text())
    roles = ("admin", "customer_success", "finance", "auditor")
    expected = {
        name: [role in declared["groups"][group] for role in roles]
        for name, group in declared["permissions"].items()
        if name != "anyone"
    }
    rows = _rows("permissions.md", "Permissions")
    assert {row[0].strip("`"): [cell == "yes" for cell in row[3:]] for row in rows} == expected
    shown = {code: [str(label.name), str(label.allows)] for code, label in LABELS.items()}
    assert {row[0].strip("`"): row[1:3] for row in rows} == shown
    listed = re.findall(r"^- `(\w+)` includes (.+)\.$", (REFERENCE / "permissions.md").read_text(), re.MULTILINE)
    assert {code: set(re.findall(r"`(\w+)`", names)) for code, names in listed} == {
        code: {*names} for code, names in declared["includes"].items()
    }
    for name in ("admins_only", "hidden"):
        text = (REFERENCE / "permissions.md").read_text()
        for code in declared[name]["permissions"]:
            assert f"`{code}`" in text.partition("\n## Custom roles\n")[2]


def test_states_are_those_of_the_tables() -> None:
    assert _codes(_rows("states.md", "Account states")) == list(AccountState.values)
    steps = {row[0].strip("`"): set(re.findall(r"`(\w+)`", row[2])) for row in _rows("states.md", "Operation states")}
    assert steps == {str(before): {str(each) for each in after} for before, after in STEPS.items()}
    assert sorted(_codes(_rows("states.md", "Kinds of operation"))) == sorted(OperationKind.values)
    assert _codes(_rows("states.md", "Bulk changes")) == list(ChangeSet.State.values)
    assert _codes(_rows("states.md", "Usage syncs")) == list(SyncRun.State.values)


def test_every_error_kind_is_in_the_reference() -> None:
    given = re.compile(
        r"""(?:error_kind"?\s*[=:]\s*|(?:Failed|NeedsReview|Stopped|verdict|_review)\)?\(\s*)"([a-z_]+)\""""
    )
    source = "".join(path.read_text() for path in sorted((ROOT / "customers" / "operations").rglob("*.py")))
    assert set(given.findall(source)) - set(_codes(_rows("states.md", "Error kinds"))) == set()


def test_every_scheduled_task_is_in_the_reference() -> None:
    scheduled = {entry["task"] for entry in settings.CELERY_BEAT_SCHEDULE.values()}
    assert set(_codes(_rows("queues.md", "Schedules"))) == scheduled
