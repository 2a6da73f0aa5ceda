"""People at the service layer, step by step as Hypothesis chooses: two who edit one list, forms sent twice, cancelling,
roles taken away, somebody in the provider's console, and a worker now and then.

`STATEFUL_EXAMPLES=5000 STATEFUL_STEPS=50` runs more of them.
"""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from customers.models import Account, Attempt, Operation
from customers.models.operation_states import BUSY, FINAL
from customers.operations import commands as operation_commands
from customers.operations.commands import AlreadySubmitted, StaleVersion
from portal.access.models import User
from portal.commands import Command
from portal.providers import ProviderOffering
from portal.refusals import Refusal
from tests.simulation.asking import ADDON, BIGGER, PACKAGE, account
from tests.simulation.truth import Truth
from tests.simulation.world import Home, World

pytestmark = pytest.mark.xdist_group("simulation")

EXAMPLES, STEPS = int(os.environ.get("STATEFUL_EXAMPLES", "8")), int(os.environ.get("STATEFUL_STEPS", "20"))
LISTS = ([PACKAGE, ADDON], [BIGGER, ADDON], [BIGGER], [PACKAGE])
EDITORS = st.sampled_from(("first", "second"))


class Staff(RuleBasedStateMachine):
    def __init__(self, home: Home) -> None:
        super().__init__()
        self.world: World = home.world(0)
        self.truth = Truth(self.world)
        self.forms: dict[str, tuple[int, list[ProviderOffering]]] = {}
        self.sent: dict[str, tuple[Operation, list[ProviderOffering], list[ProviderOffering]]] = {}
        self.cancelled: dict[int, int] = {}
        self.demoted = False
        for who in ("first", "second"):
            self.forms[who] = self._as_shown()

    # -- what people do

    @rule(who=EDITORS)
    def open_the_editor(self, who: str) -> None:
        self.forms[who] = self._as_shown()

    @rule(who=EDITORS, wanted=st.sampled_from(LISTS))
    def send_the_form(self, who: str, wanted: list[ProviderOffering]) -> None:
        """C2: of two who saw the same list, the later one is told; never is a list replaced that nobody saw."""
        version, base = self.forms[who]
        to, token = self._account(), uuid4().hex
        was = to.version
        try:
            made = operation_commands.request_offerings(
                self._command(token), account=to, base=base, version=version, offerings=wanted
            )
        except StaleVersion:
            assert was != version
            return
        except Refusal:
            return
        assert not self.demoted, "C7: a role that may not do it"
        assert was == version, "C2: taken over a newer version"
        self.sent[token] = (made, base, wanted)
        assert self._account().version == version + 1

    @precondition(lambda self: self.sent and not self.demoted)
    @rule()
    def send_the_same_form_again(self) -> None:
        """C3: the same form is the same operation, and other content under its token is refused."""
        token, (made, base, wanted) = next(iter(self.sent.items()))
        before, command = Operation.objects.count(), self._command(token)
        form: dict[str, Any] = {"account": self._account(), "version": 0, "base": base, "offerings": wanted}
        assert operation_commands.request_offerings(command, **form).pk == made.pk
        with pytest.raises(AlreadySubmitted):
            operation_commands.request_offerings(replace(command, reason="Another."), **form)
        assert Operation.objects.count() == before

    @rule(kind=st.sampled_from(("suspend", "unsuspend")))
    def ask_for_a_state(self, kind: str) -> None:
        try:
            getattr(operation_commands, f"request_{kind}")(self._command(uuid4().hex), account=self._account())
        except Refusal:
            return
        assert not self.demoted, "C7: a role that may not do it"

    @precondition(lambda self: not self.demoted)
    @rule()
    def cancel_the_newest(self) -> None:
        """C4: it is cancelled, or it is told that it began; never both."""
        queued = Operation.objects.filter(state="queued").order_by("-pk").first()
        if queued is None:
            return
        try:
            operation_commands.cancel_operation(Command(self._person(), self.world.now), operation=queued)
        except Refusal:
            return
        self.cancelled[queued.pk] = queued.attempt_count

    @rule()
    def take_the_role_away_or_give_it_back(self) -> None:
        self.demoted = not self.demoted
        User.objects.filter(pk=self._person().pk).update(is_active=not self.demoted)

    # -- what happens meanwhile

    @rule(wanted=st.sampled_from(LISTS))
    def somebody_in_the_console(self, wanted: list[ProviderOffering]) -> None:
        to = self._account()
        rows = [{"name": each.name, "type": each.type, "quantity": each.quantity} for each in wanted]
        self.world.admin.change_account(str(to.provider_id), offerings=rows)
        self.truth.touched.add(str(to.provider_id))

    @rule()
    def a_worker_comes_by(self) -> None:
        self.world.round()

    @rule(seconds=st.sampled_from((1, 100, 1000)))
    def time_goes_by(self, seconds: int) -> None:
        self.world.shift(seconds)

    # -- what holds at every step

    @invariant()
    def one_at_a_time(self) -> None:
        """C1."""
        assert Operation.objects.filter(account=self._account(), state__in=BUSY).count() <= 1

    @invariant()
    def what_is_cancelled_is_not_sent(self) -> None:
        for pk, sends in self.cancelled.items():
            operation = Operation.objects.get(pk=pk)
            assert (operation.state, operation.attempt_count) == ("cancelled", sends)

    @invariant()
    def a_conflict_sends_nothing(self) -> None:
        conflicts = Operation.objects.filter(state="failed", error_kind="conflict")
        assert not Attempt.objects.filter(operation__in=conflicts, outcome="applied").exists()

    def teardown(self) -> None:
        User.objects.update(is_active=True)
        waiting = self.world.drain()
        problems = self.truth.verdict(waiting=[each for each in waiting if each.state not in FINAL])
        assert problems == []

    def _as_shown(self) -> tuple[int, list[ProviderOffering]]:
        now = self._account()
        return now.version, [ProviderOffering(**row) for row in now.offerings or []]

    def _account(self) -> Account:
        return account("sendgrid", "larkfield")

    def _person(self) -> User:
        return User.objects.get(role="customer_success")

    def _command(self, token: str) -> Command:
        return Command(self._person(), self.world.now, reason="As Hypothesis says.", token=token)


@pytest.mark.long
def test_staff_do_what_they_like(home: Home) -> None:
    run_state_machine_as_test(
        lambda: Staff(home),  # type: ignore[arg-type]
        settings=settings(
            max_examples=EXAMPLES, stateful_step_count=STEPS, deadline=None, derandomize=True, database=None,
            phases=(Phase.generate,),  # a failure is shown at once: to make it small takes minutes
            suppress_health_check=list(HealthCheck),
        ),
    )  # fmt: skip
