from __future__ import annotations

import pytest
from django.core.exceptions import ImproperlyConfigured

from portal.access.permissions import allowed, read_rules


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
    assert allowed(role, route, method) is may


@pytest.mark.parametrize(
    "routes",
    [{"a": {"GET": "everybody"}}, {"a": {"DELETE": "admin"}}, {"a": {"GET": ["admin", "root"]}}, {"a": {"GET": []}}],
)
def test_a_word_that_means_nothing_is_refused(routes: dict) -> None:
    with pytest.raises(ImproperlyConfigured):
        read_rules(groups={"staff": ["admin"]}, routes=routes)
