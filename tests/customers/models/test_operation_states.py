"""The table of steps, pair by pair, against what was written down when it was agreed."""

from itertools import product

import pytest

from customers.models.operation_states import BUSY, FINAL, OPEN, STEPS, IllegalStep, OperationState, check_step

AGREED = {
    "queued": {"claimed", "cancelled", "needs_attention"},
    "claimed": {"sending", "queued", "succeeded", "failed", "needs_attention"},
    "sending": {"succeeded", "failed", "queued", "unknown"},
    "unknown": {"succeeded", "failed", "queued", "needs_attention"},
    "needs_attention": {"succeeded", "failed", "queued"},
    "succeeded": set(),
    "failed": set(),
    "cancelled": set(),
}


@pytest.mark.parametrize(("before", "after"), list(product(OperationState.values, OperationState.values)))
def test_every_pair_is_allowed_or_raises_as_agreed(before: str, after: str) -> None:
    if after in AGREED[before]:
        check_step(before, after)
    else:
        with pytest.raises(IllegalStep):
            check_step(before, after)


def test_final_open_and_busy_divide_the_states() -> None:
    assert set(OPEN) | set(FINAL) == set(OperationState)
    assert not set(OPEN) & set(FINAL)
    assert set(BUSY) < set(OPEN)
    assert all(not STEPS[state] for state in FINAL)
