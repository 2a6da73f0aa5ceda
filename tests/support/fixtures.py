"""Fixtures any test may ask for. Registered through `pytest_plugins` in the root conftest."""

from collections.abc import Iterator

import pytest

from tests.support.sandbox import SandboxProcess


@pytest.fixture(scope="session")
def sandbox_process() -> Iterator[SandboxProcess]:
    with SandboxProcess() as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(sandbox_process: SandboxProcess) -> SandboxProcess:
    """The provider simulator, as new: one process for the session, reset for every test."""
    sandbox_process.admin.reset()
    return sandbox_process
