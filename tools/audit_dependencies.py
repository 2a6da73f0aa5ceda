"""Compare the pinned requirements of production with the vulnerabilities that the package index knows, by pip-audit.

pip-audit says "no known vulnerabilities" also of packages that it could not look up. So the answer counts only if every
package was looked up, and if a release with a known vulnerability was recognized in the same way.

Packages that SECURITY.md lists as behind, and that are still due after their day, are findings as well.

Exit codes: 0 clean; 1 vulnerabilities found, or updates overdue; 75 not run (EX_TEMPFAIL), which a build server may let
pass.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from packaging.utils import NormalizedName, canonicalize_name

from tools.pinned import REQUIREMENTS, pinned_requirements

CLEAN, VULNERABLE, NOT_RUN = 0, 1, 75
SECONDS = 300
POLICY = REQUIREMENTS.with_name("SECURITY.md")
# A release with published vulnerabilities, which must be found: CVE-2014-1829, CVE-2018-18074 and later ones.
PROBE = "requests==2.2.1"


class NotRunError(Exception):
    """Why nothing can be said about the requirements."""


def audit(path: Path, *options: str) -> list[dict[str, Any]]:
    """Return what pip-audit says of each requirement in a file."""
    command = [
        sys.executable, "-m", "pip_audit", "--requirement", str(path), "--disable-pip", "--format", "json",
        "--progress-spinner", "off", *options,
    ]  # fmt: skip
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)  # noqa: S603  our own
    except subprocess.TimeoutExpired:
        raise NotRunError(f"pip-audit did not end within {SECONDS} seconds") from None
    try:
        found: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
    except (ValueError, LookupError, TypeError):
        lines = done.stderr.strip().splitlines() or ["no answer"]
        raise NotRunError(f"pip-audit failed, {lines[-1][:200]}") from None
    return found


def require_complete(found: list[dict[str, Any]], expected: set[NormalizedName]) -> None:
    looked_up = {canonicalize_name(each["name"]) for each in found if "vulns" in each}
    if missing := expected - looked_up:
        known = len(expected) - len(missing)
        first = ", ".join(sorted(missing)[:3])
        raise NotRunError(f"the index knows {known} of {len(expected)} packages, and not {first}")


def require_probe() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "probe.txt"
        path.write_text(PROBE + "\n", encoding="utf-8")
        found = audit(path, "--no-deps")
    if not any(each.get("vulns") for each in found):
        raise NotRunError(f"the index reports no vulnerability of {PROBE}, which has some")


def overdue(today: date) -> list[str]:
    """Return the packages of SECURITY.md whose update was due before a day, as sentences."""
    rows = re.findall(r"(?m)^\| (\S+) \| \S+ \| (\S+) \| (\d{4}-\d\d-\d\d) \|$", POLICY.read_text(encoding="utf-8"))
    return [f"{name}: {newest} was due on {due}" for name, newest, due in rows if date.fromisoformat(due) < today]


def main() -> int:
    late = overdue(datetime.now(UTC).date())
    for each in late:
        print(f"{each}.")
    code = _audit_all()
    return VULNERABLE if late else code


def _audit_all() -> int:
    expected = {canonicalize_name(each.name) for each in pinned_requirements() if each.is_for_here}
    try:
        found = audit(REQUIREMENTS, "--require-hashes")
        wrong = [(each["name"], each["version"], bad) for each in found for bad in each.get("vulns", [])]
        if not wrong:  # what was found is true, whatever was not looked up
            require_complete(found, expected)
            require_probe()
    except NotRunError as reason:
        print(f"not run: {reason}.")
        return NOT_RUN
    for name, version, bad in wrong:
        print(f"{name} {version}: {bad['id']}, fixed in {', '.join(bad['fix_versions']) or 'no release'}")
    print(
        f"{len(wrong)} vulnerabilities."
        if wrong
        else f"clean: {len(expected)} packages, none with a known vulnerability."
    )
    return VULNERABLE if wrong else CLEAN


if __name__ == "__main__":
    sys.exit(main())
