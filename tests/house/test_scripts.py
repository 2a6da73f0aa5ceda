"""Script strings in every text field of every model and of every provider answer: every page shows them as text."""

from __future__ import annotations

import pytest

from tests.customers.conftest import Desk, desk  # noqa: F401 - a fixture
from tests.house.hostile import Reply, World
from tests.house.reflections import dangers
from tests.house.scripts import MARK, SCRIPTS, TEXTS, answers, fill_empty_tables, plant, refresh_keys, text_fields
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


# The rows of a closed month alone, which this portal has not.
CLOSED = {"billing.InvoiceMatch"}
# Without room for the shortest string.
TOO_SHORT = {
    "billing.BillingTerms.number_prefix", "customers.Connection.api_key_last4", "customers.DriftIgnore.field",
    "customers.KeySecret.last4", "customers.Recovery.paused_before", "billing.InvoiceMatch.account_text",
    "privacy.SubjectRequest.code",
}  # fmt: skip


@pytest.mark.long
def test_no_page_runs_what_a_model_holds(desk: Desk) -> None:  # noqa: F811 - the fixture
    """A field holds all thirty, or what it has room for: then the others in turn, in `make proof` all of them."""
    world = World(desk)
    assert set(fill_empty_tables()) <= CLOSED
    broken: dict[str, str] = {}
    for n in sample(range(0, len(SCRIPTS), 2), 1, name="script strings"):
        planted, left = plant(n)
        refresh_keys(world)
        assert set(left) <= REFUSED
        shown = 0
        for name, reply in answers(world):
            shown += MARK in reply.page.lower()
            if world.trace:
                broken.setdefault(world.where, f"{name}\n{world.trace}")
            for mistake in acts(reply):
                broken.setdefault(mistake[:60], f"{name}: {mistake}")
        print(f"{len(planted)} fields, {shown} answers show a string")  # noqa: T201
        assert shown > 200
    texts = {f"{model._meta.label}.{each.name}" for model, each in text_fields() if isinstance(each, TEXTS)}
    assert texts - planted <= REFUSED | TOO_SHORT
    if broken:
        pytest.fail(f"{len(broken)}\n" + "\n\n".join(broken.values()), pytrace=False)
