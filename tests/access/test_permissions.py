from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from portal.access.permissions import Permission, may_open, permissions_of, read_rules, require
from portal.refusals import Refusal
from tests.support.factories import UserFactory

DECLARED = tomllib.loads(Path("portal/access/permissions.toml").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("role", "route", "method", "may"),
    [
        ("admin", "customers:account-suspend", "POST", True),
        ("customer_success", "customers:account-suspend", "POST", True),
        ("finance", "customers:account-suspend", "POST", False),
        ("auditor", "customers:account-suspend", "GET", False),
        ("auditor", "customers:list", "HEAD", True),
        ("", "customers:list", "GET", False),
        ("", "account_login", "POST", True),
        ("admin", "customers:list", "POST", False),
        ("admin", "customers:no-such-route", "GET", False),
    ],
)
def test_the_file_decides(role: str, route: str, method: str, may: bool) -> None:
    assert may_open(permissions_of(role), route, method) is may


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("person", "permission", "may"),
    [
        ({"role": "customer_success"}, Permission.SUSPEND_ACCOUNT, True),
        ({"role": "customer_success", "is_active": False}, Permission.SUSPEND_ACCOUNT, False),
        ({"role": "finance"}, Permission.SUSPEND_ACCOUNT, False),
        ({"role": "finance"}, Permission.SYNC_USAGE, True),
        ({"role": "auditor"}, Permission.VIEW_COST, True),
        ({"role": "customer_success"}, Permission.VIEW_COST, False),
        ({"role": "admin"}, Permission.MANAGE_CONNECTIONS, True),
    ],
)
def test_a_permission_is_required(person: dict[str, Any], permission: Permission, may: bool) -> None:
    user = UserFactory(**person)
    if may:
        require(user, permission)
        return
    with pytest.raises(Refusal, match="Your role doesn't allow this"):
        require(user, permission)


@pytest.mark.parametrize(
    "change",
    [
        {"groups": {"staff": ["admin", "root"]}},
        {"permissions": {"view": "everybody"}},
        {"permissions": {"do_anything": "staff"}},
        {"permissions": {"suspend_account": None}},
        {"routes": {"a": {"GET": "look"}}},
        {"routes": {"a": {"DELETE": "view"}}},
    ],
)
def test_a_word_that_means_nothing_is_refused(change: dict[str, dict[str, Any]]) -> None:
    changed = {part: words | change.get(part, {}) for part, words in DECLARED.items()}
    changed["permissions"] = {code: group for code, group in changed["permissions"].items() if group is not None}
    with pytest.raises(ImproperlyConfigured):
        read_rules(changed)
