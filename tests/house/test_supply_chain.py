"""What the portal is made of: the bill of materials is complete and valid, and an audit of nothing is not clean."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import subprocess
import sys
from datetime import date
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from tools import audit_dependencies, bill_of_materials
from tools.pinned import ROOT, pinned_requirements

# Ours, or the text of a license, or a list of what is there.
NOT_VENDORED = {"static/vendor/VENDOR.md", "static/vendor/idiomorph.LICENSE", "static/vendor/tabler-icons.LICENSE"}


@pytest.fixture(scope="module")
def bill(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    path = tmp_path_factory.mktemp("bill") / "bill.json"
    assert bill_of_materials.main([str(path)]) == 0
    return json.loads(path.read_text(encoding="utf-8"))  # type: ignore[no-any-return]


def path_of(each: dict[str, str]) -> Path:
    if "file" in each:
        return ROOT / each["file"]
    top, _, rest = each["package_file"].partition("/")
    spec = find_spec(top)
    assert spec
    assert spec.origin
    return Path(spec.origin).parent / rest


def test_the_bill_is_valid_cyclonedx(bill: dict[str, Any]) -> None:
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(bill)) is None
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(bill | {"components": {}}))


def test_each_pinned_requirement_is_in_it(bill: dict[str, Any]) -> None:
    text = (ROOT / "requirements-production.txt").read_text(encoding="utf-8")
    pinned = set(re.findall(r"^([a-z0-9-]+)(?:\[[^]]*])?==(\S+)", text, re.MULTILINE))
    components = {(each["name"], each.get("version")): each for each in bill["components"]}
    assert len(pinned) > 50
    assert pinned <= set(components)
    for name, version in pinned:
        each = components[name, version]
        assert each["purl"] == f"pkg:pypi/{name}@{version}"
        assert len(each["hashes"]) == len(set(re.findall(r"sha256:(\w+)", _block(text, name, version))))
        assert each["hashes"]
        assert each["licenses"]


def _block(text: str, name: str, version: str) -> str:
    found = re.search(rf"^{name}(?:\[[^]]*])?=={re.escape(version)}.*?(?=^[a-z0-9]|\Z)", text, re.MULTILINE | re.DOTALL)
    assert found
    return found[0]


def test_each_vendored_file_is_in_it_with_its_hash(bill: dict[str, Any]) -> None:
    there = {str(path.relative_to(ROOT)) for path in (ROOT / "static" / "vendor").iterdir()} - NOT_VENDORED
    assert there <= {each.get("file") for each in bill_of_materials.vendored_files()}
    listed = {each["bom-ref"]: each for each in bill["components"]}
    for each in bill_of_materials.vendored_files():
        assert hashlib.sha256(path_of(each).read_bytes()).hexdigest() == each["sha256"], each["name"]
        (found,) = [row for ref, row in listed.items() if ref.endswith(each.get("file") or each["package_file"])]
        assert (found["hashes"][0]["content"], bool(found["licenses"])) == (each["sha256"], True)


def test_the_version_of_htmx_is_the_one_it_says() -> None:
    htmx = next(each for each in bill_of_materials.vendored_files() if each["name"] == "htmx.org")
    assert f'version:"{htmx["version"]}"' in path_of(htmx).read_text(encoding="utf-8")


def test_a_vendored_script_carries_its_hash_on_the_page() -> None:
    head = (ROOT / "templates" / "_head.html").read_text(encoding="utf-8")
    scripts = set(re.findall(r"\{% static '(vendor/[^']+\.js)' %\}", head))
    assert scripts == {str(path.relative_to(ROOT / "static")) for path in (ROOT / "static" / "vendor").glob("*.js")}
    for each in bill_of_materials.vendored_files():
        if each.get("file", "").endswith(".js"):
            digest = base64.b64encode(hashlib.sha384(path_of(each).read_bytes()).digest()).decode()
            assert each["integrity"] == f"sha384-{digest}"
            place = head.partition(each["file"].removeprefix("static/"))[2].partition("</script>")[0]
            assert f'integrity="{each["integrity"]}"' in place


def test_what_needs_what_is_known(bill: dict[str, Any]) -> None:
    needs = {each["ref"]: each.get("dependsOn", []) for each in bill["dependencies"]}
    version = {each["name"]: each.get("version") for each in bill["components"]}
    assert f"urllib3@{version['urllib3']}" in needs[f"requests@{version['requests']}"]
    assert f"django@{version['django']}" in needs["postkeeper"]
    reached, open_ends = set(), ["postkeeper"]
    while open_ends:
        reached |= {(ref := open_ends.pop())}
        open_ends += [each for each in needs.get(ref, []) if each not in reached]
    assert {f"{each.name}@{each.version}" for each in pinned_requirements()} <= reached


def test_an_unknown_license_stops_the_bill(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(bill_of_materials.BY_HAND, "pyrage")
    with pytest.raises(bill_of_materials.UnknownLicense, match="pyrage says"):
        bill_of_materials.license_of("pyrage")
    with pytest.raises(bill_of_materials.UnknownLicense, match="not installed"):
        bill_of_materials.license_of("no-such-package")


# --- The audit --------------------------------------------------------------------------------------------------------

FLAW = {"id": "PYSEC-2018-28", "fix_versions": ["2.20.0"]}


class Index:
    """Answers as pip-audit does. `known`: which part of our packages; `flaws`: theirs; `tells`: of the probe."""

    def __init__(self, *, known: float = 1.0, flaws: dict[str, list[Any]] | None = None, tells: bool = True) -> None:
        self.known, self.flaws, self.tells = known, flaws or {}, tells

    def __call__(self, command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        path = Path(command[command.index("--requirement") + 1])
        if path.name == "probe.txt":
            rows = [{"name": "requests", "version": "2.2.1", "vulns": [FLAW] if self.tells else []}]
        else:
            here = [each for each in pinned_requirements(path) if each.is_for_here]
            seen = int(len(here) * self.known)
            rows = [
                {"name": each.name, "version": each.version, "vulns": self.flaws.get(each.name, [])}
                for each in here[:seen]
            ]
            rows += [{"name": each.name, "skip_reason": "Dependency not found"} for each in here[seen:]]
        return subprocess.CompletedProcess(command, 0, json.dumps({"dependencies": rows, "fixes": []}), "")


@pytest.mark.parametrize(
    ("index", "code", "said"),
    [
        (Index(), 0, "clean: "),
        (Index(known=0), 75, "not run: the index knows 0 of "),
        (Index(known=0.99), 75, "not run: the index knows "),
        (Index(tells=False), 75, "not run: the index reports no vulnerability of requests==2.2.1"),
        (Index(flaws={"django": [FLAW]}), 1, "PYSEC-2018-28, fixed in 2.20.0\n1 vulnerabilities."),
        (Index(known=0.5, flaws={"amqp": [FLAW | {"fix_versions": []}]}), 1, "fixed in no release"),
    ],
)
def test_the_audit_is_clean_only_if_it_saw_all(
    index: Index, code: int, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(audit_dependencies.subprocess, "run", index)
    monkeypatch.setattr(audit_dependencies, "overdue", lambda _today: [])
    assert audit_dependencies.main() == code
    assert said in capsys.readouterr().out


def test_an_update_that_is_overdue_is_a_finding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    policy = tmp_path / "SECURITY.md"
    policy.write_text("| amqp | 1.0 | 1.1 | 2000-01-31 |\n| celery | 5.0 | 5.1 | 2999-01-01 |\n", encoding="utf-8")
    monkeypatch.setattr(audit_dependencies, "POLICY", policy)
    monkeypatch.setattr(audit_dependencies.subprocess, "run", Index())
    assert audit_dependencies.main() == 1
    assert "amqp: 1.1 was due on 2000-01-31.\n" in capsys.readouterr().out
    assert audit_dependencies.overdue(date(2000, 1, 31)) == []


@pytest.mark.parametrize("answer", [("", "ConnectionError: refused"), ("[]", ""), ('{"a": 1}', "x"), ("null", "x")])
def test_an_audit_without_an_answer_is_not_run(
    answer: tuple[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    done = subprocess.CompletedProcess([], 1, *answer)
    monkeypatch.setattr(audit_dependencies.subprocess, "run", lambda *_args, **_options: done)
    monkeypatch.setattr(audit_dependencies, "overdue", lambda _today: [])
    assert audit_dependencies.main() == 75
    assert capsys.readouterr().out.startswith("not run: pip-audit failed, ")


def test_the_audit_takes_too_long(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def late(*_args: object, **_options: object) -> None:
        raise subprocess.TimeoutExpired("pip-audit", 300)

    monkeypatch.setattr(audit_dependencies.subprocess, "run", late)
    monkeypatch.setattr(audit_dependencies, "overdue", lambda _today: [])
    assert audit_dependencies.main() == 75
    assert "did not end within 300 seconds" in capsys.readouterr().out


def test_pip_audit_is_installed_and_knows_the_options() -> None:
    done = subprocess.run([sys.executable, "-m", "pip_audit", "--help"], capture_output=True, text=True, check=True)
    for option in ("--disable-pip", "--require-hashes", "--no-deps", "--format", "--progress-spinner"):
        assert option in done.stdout
