"""Approval rules: reading them, and changing one. They never switch off by themselves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.db import transaction

from portal.access.permissions import Permission, require
from portal.approvals import gate
from portal.approvals.kinds import RULES, ApprovalKind
from portal.approvals.models import ApprovalRule
from portal.commands import Command
from portal.edits import plain_value, refuse_stale

FIELDS = ("is_on", "threshold", "window_hours")


def approval_rule(kind: ApprovalKind) -> ApprovalRule:
    """Return the stored rule, or one that is off."""
    return ApprovalRule.objects.filter(kind=kind).select_related("changed_by").first() or ApprovalRule(kind=kind)


def all_rules() -> list[ApprovalRule]:
    stored = {each.kind: each for each in ApprovalRule.objects.select_related("changed_by")}
    return [stored.get(kind) or ApprovalRule(kind=kind) for kind in RULES]


def relaxes(rule: ApprovalRule, facts: Mapping[str, Any]) -> bool:
    """Return whether the change lets something through that needs approval now."""
    if not rule.is_on:
        return False
    wanted = {name: getattr(rule, name) for name in FIELDS} | dict(facts)
    return not wanted["is_on"] or wanted["threshold"] > rule.threshold or wanted["window_hours"] < rule.window_hours


def change_rule(
    command: Command, *, kind: ApprovalKind, facts: Mapping[str, Any], seen: Mapping[str, Any] | None = None
) -> ApprovalRule:
    """Change a rule. What relaxes it needs approval by another admin. `seen`: the values that the form was opened with.
    Raises `EditConflict` if another admin changed them since, `Refusal`, and what `gate.pass_gate` raises."""
    require(command.person, Permission.MANAGE_APPROVAL_RULES)
    with transaction.atomic():
        ApprovalRule.objects.get_or_create(kind=kind)
        # All of them: two admins who each relax one have their requests decided one after the other.
        rows = {row.kind: row for row in ApprovalRule.objects.select_for_update().order_by("pk")}
        rule = rows[kind]
        refuse_stale(rule, facts, seen)
        before = {name: getattr(rule, name) for name in facts}
        changes = {name: value for name, value in facts.items() if before[name] != value}
        if not changes:
            return rule
        checked = command.approval is not None or relaxes(rule, changes)
        told = gate.pass_gate(command, _change_of(rule, changes)) if checked else {}
        if changes.get("is_on"):
            rule.on_since = command.now
        for name, value in changes.items():
            setattr(rule, name, value)
        rule.changed_by, rule.changed_at, rule.version = command.person, command.now, rule.version + 1
        rule.save(update_fields=[*changes, "on_since", "changed_by", "changed_at", "version"])
        command.record(
            verb="approval.rule_changed",
            obj=rule,
            before={name: before[name] for name in changes},
            after=changes | told,
        )
    return rule


def _change_of(rule: ApprovalRule, changes: Mapping[str, Any]) -> gate.Change:
    before = {name: plain_value(getattr(rule, name)) for name in changes}
    payload = {"rule": rule.kind, "version": rule.version, "before": before, "facts": dict(changes)}
    return gate.Change(ApprovalKind.RULE, subject=rule, label=str(rule), payload=payload)
