"""The providers' official OpenAPI files. They are the providers' and not committed: CONTRACTS_DIR names their folder,
else they are looked for in `shared/contracts` beside the repository."""

import os
from pathlib import Path

from tests.support.sandbox import ROOT
from tests.support.skips import require

POINTED_TO = os.environ.get("CONTRACTS_DIR")
FOLDER = Path(POINTED_TO or ROOT.parent / "shared" / "contracts")
SENDGRID = FOLDER / "sendgrid_account_provisioning_v3.yaml"
AHASEND = FOLDER / "ahasend_v2.yaml"


def require_contract(path: Path) -> None:
    """Skip without the file; under NO_SKIPS=1 its absence fails where CONTRACTS_DIR says that it is there."""
    reason = f"the provider's contract {path.name} is not on this machine (CONTRACTS_DIR)"
    require(path.is_file(), reason, installable=bool(POINTED_TO))
