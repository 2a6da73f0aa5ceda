"""The sandbox under test is the real process, from `tests.support.fixtures`."""

import pytest

from tests.support.sandbox import SandboxAdmin, SandboxClient, SandboxProcess


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
