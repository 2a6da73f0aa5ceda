from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import responses

Stub = Callable[..., responses.RequestsMock]


@pytest.fixture
def stub() -> Iterator[Stub]:
    """`stub(status, body, Header_Name="value")` answers everything, in turn when called more than once."""
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:

        def add(status: int, body: Any = b"", **headers: str) -> responses.RequestsMock:
            raw = body if isinstance(body, bytes | Exception) else json.dumps(body).encode()
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            for method in ("GET", "POST", "PUT", "DELETE"):
                mock.add(method, re.compile("https?://"), body=raw, status=status, headers=named)
            return mock

        yield add
