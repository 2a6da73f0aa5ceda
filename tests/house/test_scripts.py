"""Script strings in every text field of every model and of every provider answer: every page shows them as text."""

from __future__ import annotations

import pytest

from tests.customers.conftest import Desk, desk  # noqa: F401 - a fixture
from tests.house.hostile import Reply, World
from tests.house.reflections import dangers
from tests.house.scripts import MARK, SCRIPTS, answers, fill_empty_tables, plant, refresh_keys, text_fields
from tests.support.samples import sample

# The database allows a reason only beside the time and the person.
REFUSED = {"billing.Blocker.accepted_reason"}


def acts(reply: Reply) -> list[str]:
    """Return what a page would do; a file is no page, as its type and `nosniff` say."""
    kinds = {name.lower(): value for name, value in reply.headers}
    if "text/html" not in kinds.get("content-type", "text/html"):
        assert kinds["x-content-type-options"] == "nosniff"
        return []
    return dangers(reply.page, (MARK,)) if MARK in reply.page.lower() else []


def test_there_are_thirty_that_would_act() -> None:
    assert len(set(SCRIPTS)) == 30
    for each in SCRIPTS:
        raw = f'<p>{each}</p><p title="{each}"><p title=\'{each}\'></p><a href="{each}">x</a>'
        assert dangers(f"{raw}<textarea>{each}</textarea>", (MARK,)), each


@pytest.mark.long
def test_no_page_runs_what_a_model_holds(desk: Desk) -> None:  # noqa: F811 - the fixture
    """All thirty in each field that has the room, in turn; other fields hold all of them in `make proof`."""
    world = World(desk)
    empty = fill_empty_tables()
    print(empty)
    broken: dict[str, str] = {}
    shown = 0
    for n in sample(range(0, len(SCRIPTS), 2), 1, name="script strings"):
        planted, left = plant(n)
        refresh_keys(world)
        assert set(left) <= REFUSED
        for name, reply in answers(world):
            shown += MARK in reply.page.lower()
            if world.trace:
                broken.setdefault(world.where, f"{name}\n{world.trace}")
            for mistake in acts(reply):
                broken.setdefault(mistake[:60], f"{name}: {mistake}")
    print(f"{len(planted)} fields, {shown} answers show a string")  # noqa: T201
    every = {f"{model._meta.label}.{each.name}" for model, each in text_fields()}
    print(sorted(every - planted))
    if broken:
        pytest.fail(f"{len(broken)}\n" + "\n\n".join(broken.values()), pytrace=False)
    assert shown > 100
