"""The guard over the whole suite is there, and sees what it is there for."""

from __future__ import annotations

import pytest

from customers.models import Operation
from tests.support.updates import DecidesInASubselect

pytestmark = pytest.mark.django_db


def test_an_update_across_a_relation_is_refused() -> None:
    with pytest.raises(DecidesInASubselect):
        Operation.objects.filter(connection__paused="").update(summary="Changed.")


def test_an_update_on_its_own_table_is_not() -> None:
    assert Operation.objects.filter(state="queued", connection=1).update(summary="Changed.") == 0
