"""An account that was never read, and sums that are right after a test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from billing.usage.rollups import wrong_sums
from customers.models import Account
from tests.support.factories import AccountFactory


@pytest.fixture
def account() -> Account:
    return AccountFactory(usage_read_at=None)  # type: ignore[no-any-return]  # factories return Any


@pytest.fixture
def sums_are_right(db: None) -> Iterator[None]:
    yield
    assert list(wrong_sums()) == []
