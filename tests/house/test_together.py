"""The processes of a race have a connection each, whatever the process that starts them has open."""

from __future__ import annotations

import asyncio

import pytest
from django.db import connection

from portal.access.models import User
from tests.support.together import together

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.proof]


def backend(_n: int) -> int:
    with connection.cursor() as cursor:
        for _ in range(50):
            cursor.execute("SELECT pg_backend_pid()")
        return int(cursor.fetchone()[0])


def test_also_inside_an_event_loop_as_beside_a_browser() -> None:
    assert not User.objects.exists()  # opens a connection, which the loop does not see

    async def loop() -> list[list[int]]:
        return [together(backend, 2) for _ in range(3)]

    found = asyncio.run(loop())
    assert [len(set(each)) for each in found] == [2, 2, 2], found
    assert all(isinstance(one, int) for each in found for one in each), found
