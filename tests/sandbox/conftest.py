"""The sandbox under test is the real process, from `tests.support.fixtures`, with a clock that knows no today.

It ticks from the start of 2026, before any date that a test sets: an account that a fixture made is then never one of
the future, and what depends on the month is the same on every day.
"""

import pytest

from tests.support.sandbox import AhaSendClient, SandboxAdmin, SandboxClient, SandboxProcess

START = "2026-01-01T00:00:00Z"


@pytest.fixture
def sandbox(sandbox: SandboxProcess) -> SandboxProcess:
    sandbox.admin.set_clock(START, frozen=False)
    return sandbox


@pytest.fixture
def client(sandbox: SandboxProcess) -> SandboxClient:
    return sandbox.client


@pytest.fixture
def admin(sandbox: SandboxProcess) -> SandboxAdmin:
    return sandbox.admin


@pytest.fixture
def account(client: SandboxClient) -> str:
    """The id of one fresh account on pro-100k, ops@northwind.test."""
    return str(client.create().json["account_id"])


@pytest.fixture
def aha(sandbox: SandboxProcess) -> AhaSendClient:
    """AhaSend with the parent's key."""
    return sandbox.ahasend


@pytest.fixture
def child(aha: AhaSendClient) -> str:
    """The id of one fresh sub account, Northwind Oy."""
    return str(aha.create_child().json["id"])


@pytest.fixture
def own(sandbox: SandboxProcess, child: str) -> AhaSendClient:
    """AhaSend with a key of that sub account, which may do everything a sub account's key can."""
    return AhaSendClient(sandbox.base_url, sandbox.admin.aha.add_key(child), child)
