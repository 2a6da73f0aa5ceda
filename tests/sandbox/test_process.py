"""The process: how it starts, what it says, what it remembers, and how it ends."""

import http.client
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.support.sandbox import ROOT, SandboxClient, SandboxProcess

ACCOUNTS = "/v3/partners/accounts"


def refused(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "portal.sandbox", *arguments],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
        timeout=20,
    )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    return done.stderr


def test_it_says_where_it_is_and_what_it_takes() -> None:
    with SandboxProcess() as sandbox:
        text = "\n".join(sandbox.greeting)
        assert sandbox.greeting[-1] == f"ready {sandbox.base_url}"
        for secret in (sandbox.key, sandbox.eu_key, sandbox.admin_key, "sandbox-reseller / "):
            assert secret in text
        assert sandbox.stop() == 0


def test_it_remembers_across_a_restart(tmp_path: Path) -> None:
    data = tmp_path / "sandbox.sqlite3"
    with SandboxProcess(data=data) as sandbox:
        sandbox.admin.set_clock("2027-01-01T00:00:00Z")
        account = sandbox.client.create().json["account_id"]
        sandbox.admin.switch("list_bare", True)
        sandbox.admin.arm("status-503", "catalogue")
    with SandboxProcess(data=data) as sandbox:
        assert [item["id"] for item in sandbox.client.send("GET", ACCOUNTS).json["accounts"]] == [account]
        assert sandbox.admin.now() == "2027-01-01T00:00:00Z"
        assert "email" not in sandbox.client.send("GET", ACCOUNTS).json["accounts"][0]
        assert sandbox.client.send("GET", "/v3/partners/offerings").status == 503
        assert sandbox.client.create().json["account_id"] != account


def test_what_was_answered_survives_a_kill(tmp_path: Path) -> None:
    data = tmp_path / "sandbox.sqlite3"
    sandbox = SandboxProcess(data=data)
    sandbox.start()
    made = [sandbox.client.create().json["account_id"] for _ in range(5)]
    assert sandbox._process is not None
    sandbox._process.kill()
    sandbox.stop()
    with SandboxProcess(data=data) as again:
        assert [account["id"] for account in again.admin.accounts()] == made


def test_the_command_line_sets_latency_rate_dns_and_faults() -> None:
    faults = ("--fault", "create-then-504:1", "--fault", "list/reset:1.0")
    with SandboxProcess("--latency-ms", "50", "--rate", "7", "--dns-seconds", "30", *faults) as sandbox:
        assert sandbox.admin.call("GET", "switches")["switches"]["aha_dns_publish_seconds"] == 30
        assert sandbox.client.create().status == 504
        begin = time.monotonic()
        assert sandbox.client.create().status == 201
        assert time.monotonic() - begin >= 0.05
        with pytest.raises(ConnectionResetError):
            sandbox.client.send("GET", ACCOUNTS)
        assert sandbox.client.create().header("X-RateLimit-Limit") == "7"
        assert len(sandbox.admin.accounts()) == 3
        sandbox.admin.reset()
        assert sandbox.client.create().status == 504  # a reset arms them again


def test_a_seed_makes_runs_repeatable() -> None:
    seen = []
    for _ in range(2):
        with SandboxProcess("--seed", "42") as sandbox:
            sandbox.admin.arm("status-500", "catalogue", probability=0.5)
            hits = [sandbox.client.send("GET", "/v3/partners/offerings").status for _ in range(12)]
            seen.append((hits, sandbox.client.create().json["account_id"]))
    assert seen[0] == seen[1]
    assert len(set(seen[0][0])) == 2


def test_without_a_key_it_makes_one_and_keeps_it(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "portal.sandbox", "--port", "0", "--data", str(tmp_path / "data")]
    keys = []
    for _ in range(2):
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        with process.stdout:
            lines = []
            for line in process.stdout:
                lines.append(line)
                if line.startswith("ready "):
                    break
            process.terminate()
            assert process.wait(timeout=60) == 0
        keys.append(next(line.split()[2] for line in lines if line.startswith("SendGrid key")))
    assert keys[0] == keys[1]
    assert keys[0].startswith("SG.")
    assert len(keys[0]) == 69


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--host", "0.0.0.0"], "--allow-public"),  # noqa: S104 - refused is the point
        (["--host", "192.0.2.1"], "--allow-public"),
        (["--fault", "gremlins"], "gremlins"),
        (["--fault", "reset:often"], "neither a count nor a probability"),
        (["--rate", "-1"], "0 or more"),
    ],
)
def test_a_wrong_argument_stops_the_start_with_a_sentence(arguments: list[str], sentence: str) -> None:
    assert sentence in refused("--port", "0", *arguments)


def test_a_port_in_use_is_said() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert "in use" in refused("--port", str(taken.getsockname()[1]))


def test_sigterm_ends_it_at_once_even_while_answers_hang() -> None:
    with SandboxProcess() as sandbox:
        sandbox.admin.arm("hang", "create", count=None)

        def wait_for_an_answer() -> None:
            with pytest.raises((OSError, http.client.HTTPException)):
                sandbox.client.create()

        hanging = threading.Thread(target=wait_for_an_answer)
        hanging.start()
        deadline = time.monotonic() + 60
        while not sandbox.admin.requests("create"):
            assert time.monotonic() < deadline
        begin = time.monotonic()
        assert sandbox.stop() == 0
        assert time.monotonic() - begin < 8, "it is killed after ten"
        hanging.join(timeout=60)


@pytest.mark.parametrize("command", [("-m", "portal.sandbox"), ("manage.py", "sandbox")], ids=" ".join)
def test_it_starts_alone(command: tuple[str, ...]) -> None:
    """Without one variable of the portal: no settings, no secrets, no database."""
    with subprocess.Popen(
        [sys.executable, *command, "--port", "0", "--sendgrid-key", "SG.given"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"]},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            said = [next(process.stdout)]
            while not said[-1].startswith("ready "):
                said.append(next(process.stdout, None) or pytest.fail("".join(said)))
            assert SandboxClient(said[-1].split()[1], "SG.given").create().status == 201
        finally:
            process.terminate()
    assert process.returncode == 0


def test_many_clients_at_once_each_make_their_own_account() -> None:
    with SandboxProcess("--rate", "0") as sandbox:
        seen: list[str] = []

        def work() -> None:
            seen.extend(sandbox.client.create().json["account_id"] for _ in range(15))

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(set(seen)) == 120
        assert {account["id"] for account in sandbox.admin.accounts()} == set(seen)


@pytest.mark.long
def test_two_thousand_accounts_over_three_months_are_no_burden() -> None:
    with SandboxProcess("--rate", "0") as sandbox:
        sandbox.admin.set_clock("2026-11-20T12:00:00Z")
        shape = {"per_day": 3_000, "jitter": 0.2}
        given = [{"email": f"u{n}@x.test", "created_at": "2026-08-20", "sending": shape} for n in range(2_000)]
        made = sandbox.admin.add_accounts(given)
        begin = time.monotonic()
        for account in made[::40]:
            assert sandbox.client.behalf("/v3/user/credits", account["id"]).json["used"] > 0
        assert (time.monotonic() - begin) / 50 < 0.5
