"""Start the sandbox, run an official SDK's program against it, pass its verdict on. See README.md."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.support.sandbox import SandboxProcess

PROGRAM = Path(__file__).parent / "ahasend"


def main() -> int:
    go = os.environ.get("GO", "go")
    if shutil.which(go) is None:
        sys.stderr.write("Go 1.21 or later is needed; GO names the program.\n")
        return 2
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder) / "check"
        shutil.copytree(PROGRAM, work)
        for replaced in os.environ.get("SDK_REPLACE", "").split():
            subprocess.run([go, "mod", "edit", "-replace", replaced], cwd=work, check=True)
        with SandboxProcess() as sandbox:
            env = os.environ | {
                "AHASEND_BASE_URL": sandbox.base_url,
                "AHASEND_API_KEY": sandbox.ahasend_key,
                "AHASEND_ACCOUNT_ID": sandbox.ahasend_account,
                "GOFLAGS": "-mod=mod",
            }
            return subprocess.run([go, "run", "."], cwd=work, env=env, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
