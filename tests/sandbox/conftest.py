"""The sandbox under test is the real process, from `tests.support.fixtures`."""

import pytest

from tests.support.sandbox import AhaSendClient, SandboxAdmin, SandboxClient, SandboxProcess


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
