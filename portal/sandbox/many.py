"""Very many accounts: those of a portal filled by `manage.py seed` with the same number, under the same IDs.

The sandbox imports nothing of the portal: `portal/demo/seed/plan.py` states the same rules, and a test compares them.
"""

import hashlib
import time
import uuid

from portal.sandbox.ahasend import store as ahasend_store
from portal.sandbox.sendgrid.accounts import open_account
from portal.sandbox.store import Store

PACKAGES = (
    "postkeeper.ei.essentials-50k.v1",
    "postkeeper.ei.essentials-100k.v1",
    "postkeeper.ei.pro-100k.v1",
    "postkeeper.ei.pro-300k.v1",
)


def add_accounts(store: Store, count: int, *, parent: str) -> None:
    """Add accounts to a store that has none, within the caller's transaction: every seventh to the AhaSend parent,
    a third of the others to the EU organization."""
    if store.db.execute("SELECT 1 FROM account LIMIT 1").fetchone():
        return
    at = time.time() - 5 * 365 * 86_400
    for n in range(1, count + 1):
        digest = hashlib.md5(f"account {n}".encode(), usedforsecurity=False).hexdigest()
        if n % 7 == 0:
            name, id_ = f"Account {n}", str(uuid.UUID(digest))
            ahasend_store.add_account(
                store, parent=parent, name=name, website="https://company.example", at=at, id_=id_
            )
            continue
        organisation, region = ("reseller-eu", "eu") if n % 3 == 2 else ("reseller-global", "global")
        open_account(
            store,
            organisation=organisation,
            region=region,
            profile={"email": f"a{n}@company.example"},
            offerings=[{"name": PACKAGES[n % len(PACKAGES)], "type": "package", "quantity": 1}],
            at=at,
            anchor_day=n % 28 + 1,
            account_id=f"sg{digest}",
        )
