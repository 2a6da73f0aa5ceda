"""One click, followed through real processes: from the page to the provider and back, in logs and in metrics."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.journeys.processes import CELERY, OPENER, PASSWORD, Installation, installation, until
from tests.journeys.test_kill import ASK
from tests.journeys.test_production_services import Visitor
from tests.support.postgres import free_port
from tests.support.sandbox import KEY

pytestmark = [pytest.mark.long, pytest.mark.slow, pytest.mark.xdist_group("journeys")]

TOKEN = "a-token-of-the-tests-0123456789"
KNOWN = f"person.set_password({PASSWORD!r}); person.save(); print(person.email)"
ACCOUNT = "from customers.models import Account; print(Account.objects.get().public_id)"
STATES = """
from customers.models import Operation
print(*Operation.objects.order_by("pk").values_list("state", flat=True))
"""
LAST = """
from customers.models import Operation
operation = Operation.objects.order_by("pk").last()
print(operation.public_id, operation.code, operation.request_id, operation.attempts.get().provider_request_id)
"""


def _counted(url: str) -> dict[tuple[str, ...], float]:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    request = urllib.request.Request(url, headers=headers)  # noqa: S310  our own address
    with OPENER.open(request, timeout=60) as answer:
        families = list(text_string_to_metric_families(answer.read().decode()))
    return {
        (each.name, *(text for _, text in sorted(each.labels.items()))): each.value
        for family in families
        for each in family.samples
    }


@pytest.fixture
def portal(tmp_path: Path) -> Iterator[Installation]:
    with installation(tmp_path / "data", METRICS_TOKEN=TOKEN) as one:
        one.prepare()
        one.manage("connect", "sendgrid", "--name", "SendGrid", "--base-url", one.sandbox.base_url, PORTAL_API_KEY=KEY)
        yield one


def test_a_click_can_be_followed_to_the_provider_and_back(portal: Installation) -> None:
    port = free_port()
    portal.spawn(
        "worker", *CELERY, "worker", "-c", "1", "-Q", "ops", PORTAL_WORKER="1", METRICS_BIND=f"127.0.0.1:{port}"
    )
    email = portal.python(ASK + KNOWN)
    until(lambda: portal.python(STATES) == "succeeded", what="the account")
    visitor = Visitor(portal.start_web())
    visitor.post("/sign-in/", login=email, password=PASSWORD)
    visitor.post(f"/accounts/{portal.python(ACCOUNT)}/suspend/", why="unpaid")
    until(lambda: portal.python(STATES) == "succeeded succeeded", what="the suspend")

    page, operation, request_id, theirs = portal.python(LAST).split()
    clicked = [line for line in portal.said("web").splitlines() if f"request_id={request_id}" in line]
    assert any("method=POST" in line and "route=customers:account-suspend" in line for line in clicked)
    exchange = [line for line in portal.said("worker").splitlines() if f"provider_request_id={theirs}" in line]
    assert len(exchange) == 1
    assert f"request_id={request_id}" in exchange[0]
    assert f"operation={operation}" in exchange[0]
    assert "endpoint=state.write" in exchange[0]
    assert theirs in visitor.get(f"/operations/{page}/")

    for url in (f"{portal.url}/metrics", f"http://127.0.0.1:{port}/metrics"):
        counted = _counted(url)
        assert counted["postkeeper_attempts_total", "suspend", "applied"] == 1
        assert counted["postkeeper_provider_calls_total", "state.write", "sendgrid", "2xx"] == 1
        assert counted["postkeeper_operation_steps_total", "suspend", "succeeded"] == 1
        assert counted["postkeeper_requests_total", "POST", "customers:account-suspend", "3xx"] == 1
    assert ("postkeeper_database_up",) not in _counted(f"http://127.0.0.1:{port}/metrics")
