"""`make fuzz-sandbox`: schemathesis asks the sandbox what the providers' official files allow, and what they forbid.

One process of the sandbox, without rate limits, on a free port; one run for each file, with a fixed seed (SEED=n for
another, EXAMPLES=n for more requests of each operation). `schemathesis.toml` names the checks left out, and why.
Exit code 0 only when nothing was found.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from portal.sandbox.app import APIS
from portal.sandbox.messages import Route
from tests.support.ahasend import AHASEND_ACCOUNT
from tests.support.contracts import AHASEND, SENDGRID
from tests.support.sandbox import SandboxAdmin, SandboxProcess

SETTINGS = Path(__file__).with_name("schemathesis.toml")
METHODS = ("get", "put", "post", "delete", "patch")
# Statuses that the sandbox gives although a file declares them for the neighbours of the operation only. They read like
# omissions: what the neighbours answer is the better guess, and no client of ours may depend on either.
UNDECLARED = {
    ("put", "/v3/partners/accounts/{accountID}/offerings"): "404",  # an unknown or deleted account
    ("put", "/v3/partners/accounts/{accountID}/state"): "404",  # the same
    ("post", "/v2/accounts/{account_id}/domains/{domain}/check-dns"): "400",  # an account id that is no UUID
}
# Done only with two generated ids that belong together, so not in every run; tests/sandbox asks them.
RARELY_DONE = ("aha-key", "aha-key-delete")


def main() -> int:
    missing = [path.name for path in (SENDGRID, AHASEND) if not path.is_file()]
    if missing:
        sys.stderr.write(f"{' and '.join(missing)} not found; CONTRACTS_DIR names the folder of the official files.\n")
        return 2
    failed = False
    with tempfile.TemporaryDirectory() as folder, SandboxProcess("--rate", "0", "--seed", "1") as sandbox:
        sandbox.admin.set_clock("2026-01-15T10:00:00Z", frozen=False)
        for pace in ("aha_rate", "aha_statistics_rate"):
            sandbox.admin.switch(pace, 0)
        sandbox.admin.aha.add_domain(AHASEND_ACCOUNT, "example.com", verified=True)  # the one of the file's examples
        for contract, key in ((SENDGRID, sandbox.key), (AHASEND, sandbox.ahasend_key)):
            copy, operations = prepared(contract, Path(folder))
            failed |= fuzz(sandbox.base_url, key, copy) != 0
            never = [name for name in operations if name not in RARELY_DONE and not _ever_done(sandbox.admin, name)]
            if never:
                failed = True
                print("Refused every time, so its answers prove little:", *never, flush=True)
    return int(failed)


def prepared(contract: Path, folder: Path) -> tuple[Path, list[str]]:
    """A copy with the operations that the sandbox has, and the statuses of `UNDECLARED`; and those operations."""
    file = yaml.safe_load(contract.read_text())
    answers = {status: answer for _, _, each in _operations(file) for status, answer in each["responses"].items()}
    names = []
    for method, path, operation in list(_operations(file)):
        route = _route(method, path)
        if route is None:
            del file["paths"][path][method]
            continue
        names.append(route.operation)
        if status := UNDECLARED.get((method, path)):
            operation["responses"][status] = answers[status]
    copy = folder / contract.name
    copy.write_text(yaml.safe_dump(file))
    return copy, names


def fuzz(base_url: str, key: str, contract: Path) -> int:
    print(f"\n=== {contract.name} ===", flush=True)
    command = [
        sys.executable, "-m", "schemathesis.cli", "--config-file", str(SETTINGS), "run", str(contract),
        "--url", base_url, "--header", f"Authorization: Bearer {key}", "--generation-database", "none",
        "--seed", os.environ.get("SEED", "1"), "--max-examples", os.environ.get("EXAMPLES", "50"),
    ]  # fmt: skip
    env = os.environ | {"AHASEND_ACCOUNT": AHASEND_ACCOUNT}
    return subprocess.run(command, cwd=contract.parent, env=env, check=False).returncode


def _operations(file: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in file["paths"].items():
        for method in METHODS:
            if method in item:
                yield method, path, item[method]


def _route(method: str, path: str) -> Route | None:
    sample = re.sub(r"\{\w+\}", "x", path)
    routes = (route for api in APIS for route in api.routes)
    return next((each for each in routes if each.method == method.upper() and each.path.fullmatch(sample)), None)


def _ever_done(admin: SandboxAdmin, operation: str) -> bool:
    return any(line["status"] and line["status"] < 400 for line in admin.requests(operation))


if __name__ == "__main__":
    sys.exit(main())
