"""What a real worker and a real scheduler write to standard error: structured lines, and no secret in them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from portal.logs import MASK
from portal.queue_settings import NAMES
from tests.journeys.processes import CELERY, Installation, installation, until
from tests.journeys.test_kill import ASK
from tests.support.sandbox import KEY

pytestmark = [pytest.mark.long, pytest.mark.slow, pytest.mark.xdist_group("journeys")]

SECRET = "SG.aaaaaaaaaaaaaaaaaaaaaa.bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
CODE = "from customers.models import Operation; print(Operation.objects.get().code)"
# The ID is no number, so the task ends with an exception that names it.
FAIL = f"from celery import current_app; current_app.send_task('customers.perform', args=['{SECRET}'])"
LINE = re.compile(r"^\d{4}-\d\d-\d\dT[\d:.]+Z (debug|info|warning|error|critical) \S+ ")


@pytest.fixture
def portal(tmp_path: Path) -> Iterator[Installation]:
    with installation(tmp_path / "data") as one:
        one.prepare()
        one.manage("connect", "sendgrid", "--name", "SendGrid", "--base-url", one.sandbox.base_url, PORTAL_API_KEY=KEY)
        yield one


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_a_worker_and_the_scheduler_log_what_they_do(portal: Installation, pool: str) -> None:
    portal.python(ASK)
    code = portal.python(CODE)
    portal.spawn(
        "worker", *CELERY, "worker", f"--pool={pool}", "-c", "2", "-Q", ",".join(NAMES),
        PORTAL_WORKER="1", PYTHONWARNINGS="ignore:You're running the worker",
    )  # fmt: skip
    portal.start_beat()
    portal.python(FAIL)
    until(lambda: f"operation={code}" in portal.said("worker"), what="a line with the operation's ID")
    until(lambda: re.search(r"audit sealed head=\d+:[0-9a-f]{64}", portal.said("worker")), what="the audit head")
    until(lambda: "scheduler.started" in portal.said("beat"), what="a line of the scheduler")

    trace = until(lambda: re.search(r"    \| Traceback.*\n(    \| .*\n)+", portal.said("worker")), what="the traceback")
    assert "ValueError" in trace.group()
    assert MASK in trace.group()
    for name in ("worker", "beat"):
        said = portal.said(name)
        assert SECRET not in said
        assert KEY not in said
        strange = [line for line in said.splitlines() if not LINE.match(line) and not line.startswith("    | ")]
        assert strange == []
