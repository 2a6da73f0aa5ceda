"""An UPDATE that decides something carries its conditions on its own table. Held over the whole suite.

A filter across a relation makes Django write `UPDATE ... WHERE id IN (SELECT ...)`, with every condition inside. After
waiting for a row that somebody else changed, PostgreSQL looks at the conditions of the UPDATE again, but not into the
subselect: two workers then both change the row that only one of them could. See docs/decisions/updates.md.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import connections
from django.db.backends.signals import connection_created

WITH_A_SUBSELECT = re.compile(r'^UPDATE "\w+" SET .* WHERE .*\(SELECT ', re.DOTALL)


class DecidesInASubselect(AssertionError):
    """An UPDATE whose condition PostgreSQL would not look at again."""


def refuse(execute: Callable[..., Any], sql: str, params: Any, many: bool, context: dict[str, Any]) -> Any:
    if WITH_A_SUBSELECT.match(sql):
        raise DecidesInASubselect(f"Conditions in a subselect are not looked at again after waiting for a row: {sql}")
    return execute(sql, params, many, context)


@pytest.fixture(autouse=True, scope="session")
def refuse_updates_that_decide_in_a_subselect() -> Iterator[None]:
    def watch(connection: Any, **_: Any) -> None:
        if refuse not in connection.execute_wrappers:
            connection.execute_wrappers.append(refuse)

    connection_created.connect(watch)
    for connection in connections.all(initialized_only=True):
        watch(connection)
    yield
    connection_created.disconnect(watch)
