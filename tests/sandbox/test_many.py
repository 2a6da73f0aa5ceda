"""The sandbox holds the accounts of a seeded portal under the same IDs."""

from __future__ import annotations

from portal.demo.seed.plan import CONNECTIONS, connection_of, package, provider_id
from portal.sandbox.seed import Start, begin
from portal.sandbox.store import Store

COUNT = 60


def test_the_accounts_are_those_of_a_seeded_portal() -> None:
    store = Store(":memory:", seed=1)
    for _start in range(2):  # a second start adds none
        parent = begin(store, Start(accounts=COUNT)).ahasend_account
    found = {(row["id"], row["region"]) for row in store.db.execute("SELECT id, region FROM account")}
    found |= {(row["id"], "") for row in store.db.execute("SELECT id FROM aha_account WHERE parent = ?", (parent,))}
    regions = dict(zip(CONNECTIONS, ("global", "eu", ""), strict=True))
    expected = {(provider_id(n), regions[CONNECTIONS[connection_of(n)]]) for n in range(1, COUNT + 1)}
    assert found == expected
    offerings = dict(store.db.execute("SELECT id, offerings FROM account").fetchall())
    assert all(package(n)[0] in offerings.get(provider_id(n), package(n)[0]) for n in range(1, COUNT + 1))
    store.close()
