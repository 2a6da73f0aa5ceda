"""One furnished installation for the tests of a module. Its time stands still, so it does not outlive the module."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connections

from tests.simulation.asking import furnish
from tests.simulation.world import Home, at_home


@pytest.fixture(scope="module")
def home(django_db_setup: None, django_db_blocker: Any) -> Iterator[Home]:
    """On SQLite in memory, whatever the suite runs on. Its tables are copied from the suite's database where that has
    them; they are made where no test of this run asked for a database."""
    with django_db_blocker.unblock():
        suite = connections["default"]
        if suite.vendor != "sqlite":
            pytest.skip("the simulation has a database of its own: once per run is enough")
        made = suite.introspection.table_names()
        with at_home(furnish, migrated=suite.connection if made else None) as there:
            yield there
