"""Values of switches for one organization or account, which win over the sandbox's."""

import json
from collections.abc import Collection, Mapping
from typing import Any

from portal.sandbox.admin.request import Refused
from portal.sandbox.admin.switches import UnableToSwitch, check
from portal.sandbox.store import Store


def switches_of(store: Store, *owners: str) -> dict[str, Any]:
    """Return the switches as they apply to the last of `owners`: its own value, the one before's, the sandbox's."""
    found = store.switches.as_json()
    for owner in owners:
        found |= own_switches(store, owner)
    return found


def own_switches(store: Store, owner: str) -> dict[str, Any]:
    rows = store.db.execute("SELECT name, value FROM own_switch WHERE owner = ? ORDER BY name", (owner,))
    return {row["name"]: json.loads(row["value"]) for row in rows}


def set_own(store: Store, owner: str, given: Mapping[str, Any], allowed: Collection[str]) -> None:
    """Set or (null) remove values of an owner. Raises `Refused`."""
    for name, value in given.items():
        if name not in allowed:
            raise Refused(400, f"{name!r} can't be set here; possible are {', '.join(allowed)}")
        if value is None:
            store.db.execute("DELETE FROM own_switch WHERE owner = ? AND name = ?", (owner, name))
            continue
        try:
            check(name, value)
        except UnableToSwitch as error:
            raise Refused(400, str(error)) from error
        store.db.execute("INSERT OR REPLACE INTO own_switch VALUES (?, ?, ?)", (owner, name, json.dumps(value)))
