"""docker-compose.yml, the Dockerfile, and the processes that other ways to run the portal start."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import redis
import yaml

from billing.usage.pipeline import MOST_THREADS
from portal import make_secrets, secret_files
from tests.house.test_deploy import PRODUCTION, ROOT, _is_open, _run
from tests.journeys.processes import until
from tests.support.postgres import free_port
from tests.support.skips import require

pytestmark = pytest.mark.processes
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
OURS = {name: each for name, each in SERVICES.items() if each["image"] == "postkeeper"}
# They end by themselves, or have no health check yet.
UNCHECKED = {"make-secrets", "manage", "migrate"}
SECRETS = set(secret_files.NAMES) - {"DATABASE_URL", "REDIS_URL", "EMAIL_URL", "CACHE_URL"}


@pytest.mark.parametrize("name", SERVICES)
class TestService:
    def test_it_can_change_and_use_as_little_as_possible(self, name: str) -> None:
        one = SERVICES[name]
        assert one["read_only"] is True
        assert one["cap_drop"] == ["ALL"]
        assert one["security_opt"] == ["no-new-privileges:true"]
        assert one["init"] is True
        assert one["mem_limit"]
        assert one["pids_limit"]
        assert one.get("cap_add", []) == {"make-secrets": ["CHOWN", "DAC_OVERRIDE"], "caddy": ["NET_BIND_SERVICE"]}.get(
            name, []
        )
        assert not one.get("privileged")
        assert "docker.sock" not in str(one)

    def test_it_is_checked(self, name: str) -> None:
        check = SERVICES[name]["healthcheck"]
        assert check.get("disable", False) == (name in UNCHECKED)
        assert name in UNCHECKED or check["test"][0] in ("CMD", "CMD-SHELL")

    def test_it_finds_no_secret_in_its_environment(self, name: str) -> None:
        environment = SERVICES[name].get("environment", {})
        given = {setting: environment[setting] for setting in SECRETS & set(environment)}
        assert set(given.values()) <= {"", secret_files.UNUSED}
        assert not re.search(r"://[^/\s]*:[^/\s]*@", str(SERVICES[name]))

    def test_its_files_are_the_secrets_it_names(self, name: str) -> None:
        environment = SERVICES[name].get("environment", {})
        files = {value for key, value in environment.items() if key.endswith("_FILE")}
        files |= set(re.findall(r"/run/secrets/\w+", str(SERVICES[name].get("command", ""))))
        mounted = {f"/run/secrets/{secret}" for secret in SERVICES[name].get("secrets", [])}
        assert files == mounted
        assert {Path(each).name for each in files} <= set(COMPOSE["secrets"])

    def test_its_network_is_one_it_needs(self, name: str) -> None:
        expected = {"caddy": {"front"}, "web": {"front", "data"}, "make-secrets": set()}
        found = set(SERVICES[name].get("networks", []))
        assert found == expected.get(name, {"data"} if name in ("postgres", "redis") else {"data", "outside"})

    def test_its_image_has_a_full_version(self, name: str) -> None:
        image, _, version = SERVICES[name]["image"].partition(":")
        assert image == "postkeeper" or re.match(r"\d+\.\d+", version)


def test_only_the_data_network_is_closed() -> None:
    assert {name for name, each in COMPOSE["networks"].items() if each and each.get("internal")} == {"data"}


def test_who_makes_backups_restores_them_too() -> None:
    """`manage` has the keys that a restore needs and `backup` lacks."""
    stored = {name for name, each in OURS.items() if "backups:/backups" in each.get("volumes", [])}
    assert stored == {"backup", "manage"}
    assert {OURS[name]["environment"]["BACKUP_DIR"] for name in stored} == {"/backups"}
    assert set(OURS["manage"]["secrets"]) == set(COMPOSE["secrets"])


def test_the_sync_worker_may_start_all_its_threads() -> None:
    sync = OURS["worker-sync"]
    processes = int(sync["command"][sync["command"].index("-c") + 1])
    assert sync["pids_limit"] >= 2 * processes * MOST_THREADS


def test_nobody_else_has_the_key_of_the_audit_log() -> None:
    having = {name for name, each in SERVICES.items() if "audit_key" in each.get("secrets", [])}
    assert having == {"manage", "migrate", "worker-clock", "worker-sync", "backup"}
    verifying = {name for name, each in SERVICES.items() if "audit_key_fallbacks" in each.get("secrets", [])}
    assert verifying == having - {"backup"}


def test_every_secret_is_written_by_make_secrets() -> None:
    assert {f"secrets/{name.lower()}" for name in SECRETS} == {each["file"] for each in COMPOSE["secrets"].values()}
    ignored = (ROOT / ".gitignore").read_text().splitlines()
    assert {"/secrets", ".env"} <= set(ignored)


def test_the_example_of_settings_holds_no_secret() -> None:
    example = (ROOT / ".env.example").read_text()
    assert set(re.findall(r"^#?\s?([A-Z_]+)=", example, re.MULTILINE)).isdisjoint(SECRETS)
    assert not re.search(r"://[^/\s]*:[^/\s]*@", example)


def test_the_image_is_pinned_and_runs_without_root() -> None:
    bases = re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)
    assert all(re.fullmatch(r"python:3\.\d+\.\d+-slim-\w+", base) for base in bases)
    assert len(set(bases)) == 1
    assert re.findall(r"^USER (\S+)", DOCKERFILE, re.MULTILINE) == ["10001:10001"]
    assert "HEALTHCHECK" in DOCKERFILE


def test_backups_are_made_with_the_programs_of_the_server() -> None:
    (client,) = re.findall(r"postgresql-client-(\d+)", DOCKERFILE)
    assert SERVICES["postgres"]["image"].startswith(f"postgres:{client}.")
    images = [SERVICES["postgres"]["image"], *re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)]
    assert len({image.rpartition("-")[2] for image in images}) == 1, "of one Debian"


def test_the_scheduler_has_the_environment_of_a_worker() -> None:
    """docs/reference/queues.md: workers and beat have PORTAL_WORKER."""
    celery = {name: each for name, each in SERVICES.items() if each.get("command", [""])[0] == "celery"}
    assert set(celery) == {"worker-ops", "worker-clock", "worker-sync", "beat"}
    assert all(each["environment"]["PORTAL_WORKER"] == "1" for each in celery.values())


@pytest.mark.parametrize("name", sorted(OURS.keys() - {"make-secrets"}))
def test_the_settings_load_with_what_a_service_has(name: str, tmp_path: Path) -> None:
    """With the secrets it has, in files, and those it has no use for."""
    environment = {key: re.sub(r"\$\{\w+:-(.*)\}", r"\1", value) for key, value in OURS[name]["environment"].items()}
    make_secrets.make(tmp_path, {})
    files = {key: value.replace("/run/secrets", str(tmp_path)) for key, value in environment.items()}
    plain = {key: value for key, value in PRODUCTION.items() if key not in SECRETS | {"DATABASE_URL", "REDIS_URL"}}
    script = (
        "import portal.celery; from django.conf import settings as s; from portal.celery import app;"
        "print(app.connection_for_write().password, *s.CELERY_BEAT_SCHEDULE)"
    )
    done = _run("-c", script, env={**plain, **files, "DJANGO_SETTINGS_MODULE": "portal.settings"})
    assert done.stdout.split(" ", 1)[0] == (tmp_path / "redis_password").read_text().strip(), done.stderr[-2000:]


SERVER = shutil.which("valkey-server") or shutil.which("redis-server")


@pytest.mark.redis
@pytest.mark.parametrize("password", ["a b", 'it\'s "quoted" \\ # and $so', "plain"])
def test_redis_of_compose_takes_any_password(password: str, tmp_path: Path) -> None:
    require(SERVER, "neither valkey-server nor redis-server is installed")
    _, _, script = SERVICES["redis"]["command"]
    assert script.rstrip().endswith("exec valkey-server -")
    (tmp_path / "redis_password").write_text(password + "\n")
    own = script.replace("$$", "$").replace("exec valkey-server -", "cat")
    own = own.replace("/run/secrets", str(tmp_path)).replace("/data", str(tmp_path))
    env = {"PATH": os.environ["PATH"]}
    config = subprocess.run(["sh", "-c", own], env=env, capture_output=True, text=True, check=True).stdout
    (tmp_path / "redis.conf").write_text(f"{config}\nport {(port := free_port())}\nbind 127.0.0.1\n")
    with subprocess.Popen([str(SERVER), str(tmp_path / "redis.conf")], stdout=subprocess.DEVNULL) as server:
        try:
            until(lambda: server.poll() is not None or _is_open(port), what="Redis", seconds=10, every=0.02)
            assert server.poll() is None, config
            with redis.Redis(port=port, password=password) as client:
                assert client.ping()
        finally:
            server.terminate()
