"""docs/how-to/run-without-docker.md, word for word: its commands run with real processes, PostgreSQL and Redis.

Blocks marked `sh` are run as they stand. Those marked `console` need root or another machine; their values are ours.
The packages are those of the test run: the clone's .venv is made of links to it, and `make install` has nothing to do.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import textwrap
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from tests.access.test_second_factor import code_of
from tests.journeys.processes import PASSWORD, ROOT, until
from tests.journeys.test_production_services import Hidden, Visitor
from tests.support.postgres import Postgres, free_port
from tests.support.redis import Redis

pytestmark = [
    pytest.mark.long,
    pytest.mark.slow,
    pytest.mark.postgres,
    pytest.mark.redis,
    pytest.mark.xdist_group("journeys"),
]
RECIPE = (ROOT / "docs/how-to/run-without-docker.md").read_text()
BLOCKS = [textwrap.dedent(block) for block in re.findall(r"^ *```sh\n(.*?)^ *```$", RECIPE, re.DOTALL | re.MULTILINE)]
NOT_CLONED = shutil.ignore_patterns(".git", ".venv", ".env", "var", "staticfiles", "*cache*", "__pycache__", ".test*")


def _block(words: str) -> str:
    (found,) = [block for block in BLOCKS if words in block]
    return found


class Machine:
    """An empty folder with a shell that knows the values of step 2, and nothing of the test's own environment."""

    def __init__(self, folder: Path, **values: str) -> None:
        self.folder, self.place = folder, folder / "postkeeper"
        self._values = "".join(f"{name}='{value}'\n" for name, value in values.items())
        self._env = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
        self._running: list[subprocess.Popen[bytes]] = []

    def try_run(self, commands: str, *, where: Path | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "-euc", self._values + commands], cwd=where or self.place, env=self._env, capture_output=True,
            text=True, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip

    def run(self, commands: str, *, where: Path | None = None) -> str:
        done = self.try_run(commands, where=where)
        assert done.returncode == 0, f"{commands}\n{done.stdout[-2000:]}{done.stderr[-3000:]}"
        return done.stdout + done.stderr

    def refuses(self, commands: str, sentence: str) -> None:
        done = self.try_run(commands)
        assert done.returncode != 0, commands
        assert sentence in done.stdout + done.stderr, done.stderr[-3000:]
        assert "Traceback" not in done.stderr

    def start(self, command: str) -> subprocess.Popen[bytes]:
        with (self.folder / f"process-{len(self._running)}.out").open("ab") as log:
            process = subprocess.Popen(
                ["bash", "-euc", command], cwd=self.place, env=self._env, stdin=subprocess.DEVNULL, stdout=log,
                stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        self._running.append(process)
        return process

    def end(self, process: subprocess.Popen[bytes]) -> None:
        """Ctrl-C in the terminal of the command: bash and what it started."""
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def end_all(self) -> None:
        for process in self._running:
            self.end(process)

    def said(self) -> str:
        return "".join(path.read_text(errors="replace") for path in sorted(self.folder.glob("process-*.out")))


@contextmanager
def machine(folder: Path, **values: str) -> Iterator[Machine]:
    one = Machine(folder, **values)
    try:
        yield one
    finally:
        one.end_all()


def _published(folder: Path) -> str:
    """The working tree as a repository to clone from, with what is not committed yet."""
    shutil.copytree(ROOT, folder, ignore=NOT_CLONED)
    git = ["git", "-C", str(folder), "-c", "user.name=x", "-c", "user.email=x@postkeeper.example"]
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "All of it"]):
        subprocess.run([*git, *command], check=True)
    return str(folder)


def _packages(place: Path) -> None:
    venv = place / ".venv"
    venv.mkdir()
    for name in ("bin", "lib", "pyvenv.cfg"):
        (venv / name).symlink_to(Path(sys.prefix, name))
    for stamp in (".installed-to-run", ".installed"):
        (venv / stamp).touch()
        time.sleep(0.01)


def _status(url: str, **headers: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=60) as answer:  # noqa: S310
            return int(answer.status), str(answer.headers)
    except urllib.error.HTTPError as answer:
        with answer:
            return answer.code, str(answer.headers)
    except OSError:
        return 0, ""


def test_the_recipe_from_an_empty_folder(tmp_path: Path, postgres_server: Postgres, redis_server: Redis) -> None:
    with psycopg.connect(postgres_server.url, autocommit=True) as database:
        database.execute("DROP DATABASE IF EXISTS recipe")
        database.execute("CREATE DATABASE recipe")
    bind = f"127.0.0.1:{free_port()}"
    values = {
        "REPOSITORY": _published(tmp_path / "source"), "HOST_NAME": "portal.example.com", "BIND": bind,
        "DATABASE": postgres_server.url_of("recipe"), "REDIS": redis_server.url,
        "MAIL": "smtp+tls://user:made-up@127.0.0.1:1",
    }  # fmt: skip
    with machine(tmp_path, **values) as here:
        _install(here)
        _prepare(here)
        local = _block("LOOPBACK_ONLY=1 .venv/bin/gunicorn")
        web = here.start(local)
        for block in (block for block in BLOCKS if "bin/celery" in block):
            here.start(block)
        until(lambda: _status(f"http://{bind}/sign-in/")[0] == 200, what="the sign-in page")
        visitor = _first_admin(here, f"http://{bind}")
        until(lambda: _all_is_well(visitor), what="a system status without problems", every=1)
        assert 'name="api_key"' in visitor.get("/connections/new/?kind=sendgrid")
        assert "Traceback" not in here.said()
        here.end(web)
        _public(here, bind)


def _install(here: Machine) -> None:
    clone, install = _block("git clone").split("make install\n")
    here.run(clone, where=here.folder)
    _packages(here.place)
    here.run("make install\n" + install)


def _prepare(here: Machine) -> None:
    settings, prepare = _block("cat > .env"), _block("manage.py migrate")
    here.refuses(prepare, "SECRET_KEY is not set")
    here.run(settings)
    here.refuses(settings, "cannot overwrite existing file")
    assert (here.place / ".env").stat().st_mode & 0o777 == 0o600
    here.refuses(_block("create_admin"), "Run: python manage.py migrate")
    migrate, _, check = prepare.splitlines(keepends=True)
    here.run(migrate)
    here.refuses(check, "The static files are not collected")
    assert "Run: python manage.py collectstatic" in _dies(here)
    assert "System check identified no issues" in here.run(prepare)  # migrates again
    assert "bytes." in here.run(_block("manage.py backup\n"))


def _dies(here: Machine) -> str:
    done = here.try_run(_block("LOOPBACK_ONLY=1 .venv/bin/gunicorn"))
    assert done.returncode != 0
    return done.stderr


def _first_admin(here: Machine, url: str) -> Visitor:
    link = here.run(_block("create_admin")).split()[-1]
    assert link.startswith(f"{url}/")
    visitor = Visitor(url)
    visitor.post(link.removeprefix(url), password=PASSWORD, again=PASSWORD)
    assert visitor.post("/sign-in/", login="you@example.com", password=PASSWORD) == "/me/security/"
    secret = re.search(r'data-copy="([A-Z2-7]{32})"', form := visitor.get("/me/security/app/"))
    assert secret, form
    visitor.send("/me/security/app/", Hidden(form).fields | {"code": code_of(secret[1])})
    return visitor


def _all_is_well(visitor: Visitor) -> bool:
    return "wt-well" in visitor.get("/engine/")


def _public(here: Machine, bind: str) -> None:
    """As seen by the proxy with TLS, and by a load balancer that knows the IP address alone."""
    here.start(next(block for block in BLOCKS if block.startswith(".venv/bin/gunicorn")))
    until(lambda: _status(f"http://{bind}/healthz")[0] == 200, what="healthz by IP address")
    by_proxy = {"Host": "portal.example.com", "X-Forwarded-Proto": "https", "X-Forwarded-For": "192.0.2.7"}
    status, headers = _status(f"http://{bind}/sign-in/", **by_proxy)
    assert status == 200
    assert "__Host-csrf" in headers
    assert "preload" not in headers
    assert _status(f"http://{bind}/sign-in/")[0] == 400
