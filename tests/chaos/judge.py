"""What became of everything that was asked: the portal's rows against the providers' own word."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from tests.chaos.stage import Stage

ENDED = ("succeeded", "failed", "cancelled")
STATES = {"active": ("activated", "active"), "stopped_by_us": ("deactivated", "suspended")}
CREATES = {"Salmon": "create", "Canary": "create", "Aster": "aha-create"}
Row = dict[str, Any]


@dataclass
class Verdict:
    """Lists of what should not be; `asked` by what it ended as, `ways` by what it took."""

    asked: Counter[str] = field(default_factory=Counter)
    ways: Counter[str] = field(default_factory=Counter)
    doubled: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    stuck: list[str] = field(default_factory=list)
    differs: list[str] = field(default_factory=list)
    without_intent: list[str] = field(default_factory=list)
    invariants: list[str] = field(default_factory=list)
    stalled: list[str] = field(default_factory=list)
    for_a_person: list[str] = field(default_factory=list)

    @property
    def is_clean(self) -> bool:
        return not (
            self.doubled or self.lost or self.wrong or self.stuck or self.differs or self.without_intent
            or self.invariants or self.stalled
        )  # fmt: skip


def judge(stage: Stage, acknowledged: set[int]) -> Verdict:
    rows: list[Row] = stage.ask("rows")
    there = _there(stage)
    verdict = Verdict(asked=Counter(f"{row['kind']} {row['state']}" for row in rows))
    known = {row["pk"] for row in rows}
    verdict.lost += [f"operation {pk} was asked and is not there" for pk in sorted(acknowledged - known)]
    names = Counter(name for name, _ in there.values())
    verdict.doubled += [f"{name}: {n} accounts" for name, n in names.items() if n > 1]
    waiting = {row["account"] for row in rows if row["state"] == "needs_attention"}
    for row in rows:
        _one(row, there, names, verdict, behind_a_person=row["account"] in waiting)
        verdict.ways["outcome unknown for a while"] += row["settles"] > 0
        verdict.ways["found at the provider by proof"] += "proof" in row["result"]
        verdict.ways["sent more than once"] += row["sends"] > 1
    for row in _last_of_accounts(rows):
        _as_wanted(row, there, verdict)
    _keys(stage, rows, verdict)
    _intents(stage, verdict)
    verdict.invariants += stage.ask("broken")
    return verdict


def _there(stage: Stage) -> dict[str, tuple[str, Row]]:
    """Every account there ever was at the providers, by id, with the name it is told by."""
    admin = stage.portal.sandbox.admin
    found = {each["id"]: (each["email"], each) for each in admin.accounts()}
    return found | {each["id"]: (f"{each['name']}|{each['website']}", each) for each in admin.aha.accounts()}


def _one(
    row: Row, there: dict[str, tuple[str, Row]], names: Counter[str], verdict: Verdict, *, behind_a_person: bool
) -> None:
    said = f"{row['code']} {row['kind']} at {row['connection']} is {row['state']}"
    if row["error_kind"] == "poison":
        verdict.stalled.append(f"{said}: {row['summary']}")
    if row["state"] == "needs_attention":
        verdict.for_a_person.append(f"{said}: {row['error_kind']}, {row['summary']}")
    elif row["state"] not in ENDED and not behind_a_person:
        verdict.stuck.append(f"{said}: {row['summary']}")
    if row["kind"] != "create":
        return
    made = row["identity"] in names
    if row["state"] == "succeeded" and not made:
        verdict.lost.append(f"{said}, and there is no account")
    if row["state"] == "failed" and made:
        verdict.lost.append(f"{said}, and there is an account nobody knows of")
    if row["provider_id"] and there.get(row["provider_id"], ("nothing",))[0] != row["identity"]:
        verdict.wrong.append(f"{said}, linked to {there.get(row['provider_id'], ('nothing',))[0]}")


def _last_of_accounts(rows: list[Row]) -> list[Row]:
    """One row for each account all of whose work has ended well."""
    last = {row["account"]: row for row in rows}
    unsettled = {row["account"] for row in rows if row["state"] != "succeeded"}
    return [row for account, row in last.items() if account not in unsettled]


def _as_wanted(row: Row, there: dict[str, tuple[str, Row]], verdict: Verdict) -> None:
    if row["provider_id"] not in there:
        return
    _name, account = there[row["provider_id"]]
    seen: list[tuple[str, Any, Any]] = []
    state = account.get("state") or account.get("status")
    seen.append(("state", state in STATES[row["desired_state"]], True))
    if row["desired_settings"]:
        seen.append(("cap", account.get("monthly_credit") or 0, row["desired_settings"]["monthly_cap"]))
    else:
        wanted = [each["name"] for each in row["desired_offerings"]]
        seen.append(("offerings", [each["name"] for each in account["offerings"]], wanted))
    verdict.differs += [
        f"{row['identity'] or row['code']} {what}: {is_so}, wanted {want}"
        for what, is_so, want in seen
        if is_so != want
    ]


def _keys(stage: Stage, rows: list[Row], verdict: Verdict) -> None:
    for row in rows:
        if row["kind"] == "key_create" and row["state"] == "succeeded":
            keys = stage.portal.sandbox.admin.aha.keys(row["provider_id"])
            living = [each["id"] for each in keys if not each["deleted_at"]]
            if living != [row["result"]["key_id"]]:
                verdict.doubled.append(f"{row['code']}: {len(living)} keys, {row['result']['key_id']} is ours")


def _intents(stage: Stage, verdict: Verdict) -> None:
    """Nothing was sent without a committed intent: the provider counts no more creates than there are attempts."""
    attempts = stage.ask("attempts")
    heard = Counter(
        each["operation"] for each in stage.portal.sandbox.admin.requests() if each["operation"] in CREATES.values()
    )
    checks = 1  # one create is made by the check of the AhaSend connection, to see whether it may
    if sum(heard.values()) - checks > attempts.get("create", 0):
        verdict.without_intent.append(f"{dict(heard)} creates were heard, {attempts.get('create', 0)} were intended")


def as_text(verdict: Verdict) -> str:
    told = {name: value for name, value in vars(verdict).items() if value and name not in ("asked", "ways")}
    return json.dumps(told, indent=1)
