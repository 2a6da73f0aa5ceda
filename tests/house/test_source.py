"""What the house keeps out of its own source, read from the source."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
OUR_FOLDERS = ("portal", "customers", "billing")


def _modules(*folders: str) -> Iterator[tuple[str, ast.Module]]:
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            if "migrations" not in path.parts:
                yield str(path.relative_to(ROOT)), _parsed(path)


@cache
def _parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


# Fields of text that no person writes: secrets, tokens, and identifiers of others, which stay as they are.
_OPAQUE = {
    "account_id", "again", "base_url", "client_token", "confirm", "connection", "current", "file_text", "hold",
    "password", "provider_id", "read_at", "seen", "username", "v2_username",
}  # fmt: skip


def test_text_that_people_type_is_a_typed_text() -> None:
    """Others take control characters, and letters composed in another way (`portal.typed_text`)."""
    plain = {
        f"{name}: {node.targets[0].id}"
        for name, tree in _modules(*OUR_FOLDERS)
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign)
        and isinstance(node.value, ast.Call)
        and ast.unparse(node.value.func) in ("forms.CharField", "forms.EmailField")
        and isinstance(node.targets[0], ast.Name)
        and node.targets[0].id not in _OPAQUE
        and name != "portal/component_sheet.py"  # components on show: nothing is stored
    }
    assert plain == set()


def _calls(tree: ast.AST) -> Iterator[ast.Call]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.Call))


def _imports(tree: ast.AST) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.lineno, node.module or ""


def _tracked() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT, capture_output=True, check=False,
    )  # fmt: skip
    if listed.returncode == 0:
        paths = [ROOT / name for name in listed.stdout.decode().split("\0") if name]
    else:  # an unpacked archive has no history
        paths = [path for path in ROOT.rglob("*") if not {".venv", "var", "__pycache__"} & set(path.parts)]
    return [path for path in paths if path.is_file()]


# --- Code -----------------------------------------------------------------------------------------------


def test_rows_are_saved_by_named_fields() -> None:
    """A bare `save()` writes back every column as it was read, and so undoes what somebody else has just changed."""
    bare = [
        f"{name}:{call.lineno}"
        for name, tree in _modules("customers", "billing")
        for call in _calls(tree)
        if isinstance(call.func, ast.Attribute)
        and call.func.attr == "save"
        and not {"update_fields", "force_insert"} & {keyword.arg for keyword in call.keywords}
    ]
    assert bare == []


def _is_float(node: ast.AST) -> bool:
    return (
        (isinstance(node, ast.Name) and node.id == "float")
        or (isinstance(node, ast.Attribute) and node.attr == "FloatField")
        or (isinstance(node, ast.Constant) and isinstance(node.value, float))
    )


def test_money_and_usage_are_never_floats() -> None:
    """Elsewhere a float is a number of seconds, a share or a place in a chart; here it could become an amount."""
    money = re.compile(r"/models|rating|pric|statement|money|usage/snapshots|usage_nights|periods")
    floats = [
        f"{name}:{getattr(node, 'lineno', 0)}"
        for name, tree in _modules("customers", "billing", "portal")
        if money.search(name)
        for node in ast.walk(tree)
        if _is_float(node)
    ]
    assert floats == []


def test_one_module_speaks_http() -> None:
    clients = {"requests", "urllib3", "http.client", "httpx", "urllib.request"}
    speakers = {name for name, tree in _modules(*OUR_FOLDERS) for _, module in _imports(tree) if module in clients}
    # The demo and the container's health check ask our own web process whether it is up; the demo's story moves the
    # sandbox's clock.
    assert speakers <= {
        "portal/providers/http.py",
        "portal/demo/run.py",
        "portal/health_probe.py",
        "portal/demo/clock.py",
    }


def test_shared_code_names_no_provider() -> None:
    """What differs between providers is data (`Capabilities`) or stands in a file of the provider's own."""
    names = re.compile("sendgrid|ahasend", re.IGNORECASE)
    own = re.compile(
        r"sendgrid|ahasend|demo|migrations/|portal/(settings|component_sheet|state_labels)\.py|portal/(providers|sandbox|ui)/"
    )
    allowed = {  # the tables of the providers' own forms, and of a default of what they charge
        "customers/accounts/create/providers.py", "customers/connections/provider_forms.py",
        "billing/pricing/rating/case.py",
    }  # fmt: skip
    found = [
        str(path.relative_to(ROOT))
        for folder in ("customers", "billing", "portal", "templates/customers", "templates/billing")
        for path in sorted((ROOT / folder).rglob("*"))
        if path.suffix in (".py", ".html") and not own.search(str(path.relative_to(ROOT)))
        if names.search(path.read_text())
    ]
    assert set(found) <= allowed, found


def test_time_lives_in_rows_and_not_in_messages() -> None:
    """With Redis a countdown longer than the visibility timeout runs several times; `not_before` runs once."""
    timed = [
        f"{name}:{call.lineno}"
        for name, tree in _modules(*OUR_FOLDERS)
        for call in _calls(tree)
        if {"countdown", "eta", "rate_limit"} & {keyword.arg for keyword in call.keywords}
    ]
    assert timed == []


def test_chance_is_used_where_it_may_be_guessed() -> None:
    """`random` is for spreading retries and for the simulator; tokens come from `secrets`."""
    users = {name for name, tree in _modules(*OUR_FOLDERS) for _, module in _imports(tree) if module == "random"}
    allowed = {"portal/providers/http.py", "customers/operations/transitions.py"}
    assert {name for name in users if not name.startswith(("portal/sandbox/", "portal/demo/"))} <= allowed


def test_the_rooms_import_in_one_direction() -> None:
    checked = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command; lint_imports_command()"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert checked.returncode == 0, checked.stdout[-3000:] + checked.stderr[-1000:]


# --- Templates ------------------------------------------------------------------------------------------

TEMPLATE_RULES = {
    "an inline style": re.compile(r"<style\b|\sstyle\s*=", re.IGNORECASE),
    "an inline handler": re.compile(r"\son[a-z]+\s*=\s*[\"']|\shx-on", re.IGNORECASE),
    "an inline script": re.compile(r"<script(?![^>]*\bsrc=)[^>]*>", re.IGNORECASE),
    "script in an address": re.compile(r"[\"'](?:javascript|js):", re.IGNORECASE),
    "a new window without noopener": re.compile(r"target=.?_blank(?![^>]*noopener)", re.IGNORECASE),
    "text that is not escaped": re.compile(r"\|\s*safe\b|{%\s*autoescape\s+off", re.IGNORECASE),
    "an address written out": re.compile(r"\shx-(?:get|post|put|patch|delete)=\"/", re.IGNORECASE),
}


@pytest.mark.parametrize("what", TEMPLATE_RULES)
def test_templates_hold_no(what: str) -> None:
    found = [
        f"{path.relative_to(ROOT)}:{text.count(chr(10), 0, match.start()) + 1}"
        for path in sorted(ROOT.rglob("templates/**/*.html"))
        if ".venv" not in path.parts
        for text in [path.read_text()]
        for match in TEMPLATE_RULES[what].finditer(text)
    ]
    assert found == []


def test_no_line_of_a_template_is_longer_than_one_of_code() -> None:
    most = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["ruff"]["line-length"]
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in sorted(ROOT.rglob("templates/**/*.html"))
        if ".venv" not in path.parts
        for number, line in enumerate(path.read_text().splitlines(), start=1)
        if len(line) > most
    ]
    assert found == []


# --- Files ----------------------------------------------------------------------------------------------


def test_no_file_names_this_machine_or_a_package_registry() -> None:
    here = [str(ROOT) + "/"] if len(ROOT.parts) > 2 else []
    words = [
        *here, "/ro" + "ot/", "/home/" + "runner", "/Us" + "ers/", "pypi" + ".org", "pythonhosted" + ".org",
        "registry.npmjs" + ".org", "--index" + "-url", "-----BEGIN " + "PRIVATE",
    ]  # fmt: skip
    found = [
        f"{path.relative_to(ROOT)}: {word}"
        for path in _tracked()
        for text in [path.read_bytes().decode("utf-8", "replace")]
        for word in words
        if word in text
    ]
    assert found == []


def _pinned(name: str) -> dict[str, str]:
    """Name -> version and hashes, as written."""
    text = (ROOT / name).read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.lstrip().startswith("#")]
    return {_name(line.split("--hash")[0]): " ".join(line.split()) for line in lines}


def _name(requirement: str) -> str:
    return canonicalize_name(Requirement(requirement.strip()).name)


def test_dependencies_are_pinned_by_hash_and_complete() -> None:
    everything, production = _pinned("requirements.txt"), _pinned("requirements-production.txt")
    assert all("==" in line and "--hash=sha256:" in line for line in everything.values())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed, extras = project["dependencies"], project["optional-dependencies"]
    assert {_name(each) for each in [*needed, *extras["production"], *extras["dev"]]} <= set(everything)
    assert {_name(each) for each in [*needed, *extras["production"]]} <= set(production)
    assert "pytest" not in production
    assert {name: everything.get(name) for name in production} == production, "tests run what production runs"


def test_what_is_asked_for_with_an_extra_is_pinned_with_it() -> None:
    """pip before 24 takes `coverage[toml]` for unpinned when the lock says `coverage==X`, and looks for the newest."""
    lock = [Requirement(line.split("--hash")[0]) for line in _pinned("requirements.txt").values()]
    pinned = {canonicalize_name(each.name): each.extras for each in lock}
    installed = {canonicalize_name(each.name): each for each in metadata.distributions() if each.name}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = [*project["dependencies"], *(each for extra in project["optional-dependencies"].values() for each in extra)]
    wanted = [("postkeeper", Requirement(text)) for text in asked]
    for name in pinned.keys() & installed.keys():
        environments = [{"extra": extra} for extra in ("", *pinned[name])]
        requirements = [Requirement(text) for text in installed[name].requires or ()]
        wanted += [
            (name, each)
            for each in requirements
            if each.marker is None or any(each.marker.evaluate(environment) for environment in environments)
        ]
    lacking = {
        f"{asker} asks for {each}"
        for asker, each in wanted
        if not each.extras <= pinned.get(canonicalize_name(each.name), set())
    }
    assert ("coverage", {"toml"}) in [(each.name, each.extras) for _, each in wanted], "pytest-cov is installed"
    assert not lacking
