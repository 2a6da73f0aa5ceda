"""One vocabulary: what the database may hold, how it looks, and the sprite the icons come from."""

from __future__ import annotations

import re

import pytest
from django.conf import settings

from customers.models.account import AccountState
from customers.models.operation_states import OperationState
from portal import state_labels

SPRITE = (settings.BASE_DIR / "static/img/icons.svg").read_text()
STYLES = "".join(path.read_text() for path in (settings.BASE_DIR / "static/css").glob("*.css"))


def test_every_stored_state_has_a_label_and_no_label_is_unused() -> None:
    assert set(state_labels.ACCOUNT_STATES) == {*AccountState.values, state_labels.NOT_CREATED}
    assert set(state_labels.OPERATION_STATES) == set(OperationState.values)


def test_the_model_says_an_operation_state_with_the_same_word() -> None:
    assert {state.value: str(state.label) for state in OperationState} == dict(state_labels.operation_state_choices())


def test_the_model_says_an_account_state_with_the_same_words() -> None:
    assert {state.value: str(state.label) for state in AccountState} == dict(
        state_labels.account_state_choices(stored=True)
    )


@pytest.mark.parametrize(
    "look", [*state_labels.ACCOUNT_STATES.values(), *state_labels.OPERATION_STATES.values()], ids=str
)
def test_a_look_has_an_icon_a_colour_and_a_sentence(look: state_labels.StateLook) -> None:
    assert f'<symbol id="{look.icon}"' in SPRITE
    assert re.search(rf"\.pk-[so]-{look.css}\b", STYLES)
    assert str(look.sentence).endswith(".")


def test_words_and_icons_tell_states_apart_without_colour() -> None:
    for looks in (state_labels.ACCOUNT_STATES, state_labels.OPERATION_STATES):
        assert len({str(look.word) for look in looks.values()}) == len(looks)
        assert len({look.icon for look in looks.values()}) == len(looks)


def test_the_two_stops_name_who_can_lift_them() -> None:
    assert state_labels.account_state_text("stopped_by_us", "SendGrid") == "Suspended"
    assert state_labels.account_state_text("stopped_by_provider", "SendGrid") == "Blocked by SendGrid"
    assert dict(state_labels.account_state_choices())["stopped_by_provider"] == "Blocked by provider"


def test_a_providers_unlisted_state_reads_as_unknown_not_healthy() -> None:
    assert state_labels.account_look("frozen") is state_labels.ACCOUNT_STATES["unknown"]


def test_a_providers_name_with_braces_stays_text() -> None:
    assert state_labels.account_look("banned").said_by("{x}").sentence == "{x} closed it permanently."


def test_an_operation_state_that_does_not_exist_is_a_mistake() -> None:
    with pytest.raises(KeyError):
        state_labels.operation_look("stopped")
