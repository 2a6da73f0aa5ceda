"""`make run`: the whole portal on one machine with invented customers, as one supervised group of processes.

The first start creates var/demo.env (random secrets, readable only by its owner), the database and the demo data; later
starts reuse them. Nothing here is used in production or contacts a real provider: the connections point at the sandbox
on loopback.
"""

from __future__ import annotations

import base64
import contextlib
import ctypes
import fcntl
import hashlib
import os
import secrets
import signal
import socket
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path

from portal.demo.supervisor import Member, Stopped, Supervisor
from portal.queue_settings import NAMES
from portal.secret_files import NAMES as SECRETS
from portal.secret_files import PASSWORDS

BASE_DIR = Path(__file__).resolve().parents[2]
WEB_PORT, SANDBOX_PORT = 8000, 8100
PORT_WAIT = 5.0
# The sandbox publishes the DNS records of a new sending domain by itself, as nobody in the demo can.
DNS_SECONDS = 30
# One user per role, created by `manage.py prepare_demo`; all with the DEMO_PASSWORD of var/demo.env.
LOGINS = {
    "admin": ("admin@postkeeper.example", "Ada Moreau"),
    "customer_success": ("success@postkeeper.example", "Cleo Lindqvist"),
    "finance": ("finance@postkeeper.example", "Finn Okafor"),
    "auditor": ("auditor@postkeeper.example", "Audrey Tanaka"),
}
# They perform some of the demo's events, and can sign in with the same password.
COLLEAGUES = (("customer_success", ("colin@postkeeper.example", "Colin Weiss")),)
# Variables of a shell for another installation must not reach the demo.
_FOREIGN = (
    "DATABASE_URL",
    "REDIS_URL",
    "CACHE_URL",
    "ALLOWED_HOSTS",
    "CSRF_TRUSTED_ORIGINS",
    "DEBUG",
    "EMAIL_URL",
    "DJANGO_SETTINGS_MODULE",
    "SECRET_KEY_FALLBACKS",
    "AUDIT_KEY_FALLBACKS",
    "STATIC_ROOT",
    "LOOPBACK_ONLY",
    "GUNICORN_CMD_ARGS",
    "WEB_CONCURRENCY",
    *PASSWORDS.values(),
    *(f"{name}_FILE" for name in SECRETS),
)


class UnableToStart(Exception):
    """The demo cannot start; the message has the reason."""


def main() -> int:
    _end_with_make()
    os.umask(0o077)  # the demo's files are private to their owner
    data = Path(os.environ.get("DATA_DIR") or BASE_DIR / "var").resolve()
    data.mkdir(parents=True, exist_ok=True)
    with _alone(data / "demo.lock") as alone:
        if not alone:
            return _refuse(f"A demo is already running with the data in {data}. Stop it first (Ctrl-C).")
        supervisor = Supervisor(log_folder=data / "log")
        try:
            _start(supervisor, data)
        except Stopped:
            return 0
        except UnableToStart as reason:
            return _refuse(str(reason))
        finally:
            print("Stopping web, worker, beat and sandbox ...", flush=True)
            supervisor.stop()
            print("Stopped.", flush=True)
    return 0


def _start(supervisor: Supervisor, data: Path) -> None:
    """Start all members and run until a stop is requested. Raises `UnableToStart`, `Stopped`."""
    began = time.monotonic()
    with _web_socket() as listening, _sandbox_socket(data) as sandbox:
        url = f"http://127.0.0.1:{_port(listening)}"
        env = _environment(demo_settings(data, sandbox_port=_port(sandbox)), data) | {"PORTAL_URL": url}
        _prepare(supervisor, env, data, sandbox)
        supervisor.start(_web(env, listening))
        if not supervisor.wait_until(lambda: _status(f"{url}/sign-in/") == 200, seconds=60):
            raise UnableToStart(f"The sign-in page did not respond. See {data / 'log' / 'web.log'}.")
        for member in _background(env):  # after the page, which the user waits for
            supervisor.start(member)
        print(_welcome(url, env["DEMO_PASSWORD"], time.monotonic() - began), flush=True)
        supervisor.run()


def _prepare(supervisor: Supervisor, env: Mapping[str, str], data: Path, listening: socket.socket) -> None:
    """Start the sandbox, and create missing demo data."""
    prepared = PreparedDemo(data, env)
    prepared.clear_half_made()
    supervisor.start(_sandbox(env, data, listening))
    if prepared.complete():
        return
    if not supervisor.wait_until(lambda: _status(env["SANDBOX_URL"]) > 0, seconds=30):
        raise UnableToStart(f"The sandbox did not start. See {data / 'log' / 'sandbox.log'}.")
    print("Creating the database and the demo data. This takes a few minutes, the first time only ...", flush=True)
    alone = {**env, "LOG_LEVEL": "ERROR", "PORTAL_WORKER": "1"}  # a worker's rate: nothing else sends requests yet
    if supervisor.run_to_end(_member("setup", "manage.py", "prepare_demo", env=alone)) != 0:
        raise UnableToStart("The demo could not be set up. See the error above.")
    prepared.keep()


# --- Settings of the demo ---------------------------------------------------------------------------


def demo_settings(data: Path, *, sandbox_port: int) -> dict[str, str]:
    """Return the settings in var/demo.env, created on the first start; settings of a newer version are added."""
    path = data / "demo.env"
    kept = _read_env(path) if path.exists() else {}
    # If the stored port was taken, seed_demo updates the connections.
    settings = _fresh_settings() | kept | {"SANDBOX_PORT": str(sandbox_port)}
    if settings != kept:
        _write_private(path, "".join(f"{name}={value}\n" for name, value in settings.items()))
    return settings


def _fresh_settings() -> dict[str, str]:
    def sendgrid_key() -> str:
        return f"SG.{secrets.token_urlsafe(16)}.{secrets.token_urlsafe(32)}"

    return {
        "SECRET_KEY": secrets.token_urlsafe(48),
        "FIELD_KEYS": "demo:" + base64.b64encode(secrets.token_bytes(32)).decode(),
        "AUDIT_KEY": secrets.token_urlsafe(48),
        "DEMO_PASSWORD": "-".join(secrets.token_hex(2) for _ in range(4)),
        "SANDBOX_SENDGRID_KEY": sendgrid_key(),
        "SANDBOX_SENDGRID_EU_KEY": sendgrid_key(),
        "SANDBOX_AHASEND_KEY": f"aha-sk-{secrets.token_hex(32)}",
        "SANDBOX_AHASEND_ACCOUNT": str(uuid.uuid4()),
        "SANDBOX_ADMIN_KEY": secrets.token_urlsafe(24),
    }


def _environment(settings: Mapping[str, str], data: Path) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if name not in _FOREIGN}
    return inherited | {
        **settings,
        "PORTAL_ENV_FILE": "",  # nor must a .env for another installation
        "PORTAL_ENV": "development",
        "PORTAL_DEMO": "1",
        "DATA_DIR": str(data),
        "SANDBOX_URL": f"http://127.0.0.1:{settings['SANDBOX_PORT']}",
        "PYTHONUNBUFFERED": "1",
        "PYTHONWARNINGS": "ignore:You're running the worker",  # run as root, as usual in a container
    }


def _read_env(path: Path) -> dict[str, str]:
    pairs = (line.partition("=") for line in path.read_text().splitlines() if "=" in line)
    return {name.strip(): value.strip() for name, _, value in pairs}


def _write_private(path: Path, text: str) -> None:
    part = path.with_suffix(".part")
    part.unlink(missing_ok=True)
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    part.replace(path)


class PreparedDemo:
    """State of the demo's preparation: needed on a first start, new migrations, or another sandbox address or seed."""

    def __init__(self, data: Path, env: Mapping[str, str]) -> None:
        self._data = data
        self._stamp, self._begun = data / "demo.prepared", data / "demo.preparing"
        digest = hashlib.sha256(env["SANDBOX_URL"].encode())
        for pattern in ("*/migrations/*.py", "*/*/migrations/*.py", "*/management/commands/*demo*.py"):
            for path in sorted(BASE_DIR.glob(pattern)):
                digest.update(path.name.encode() + path.read_bytes())
        self._version = digest.hexdigest()

    def complete(self) -> bool:
        return (
            self._stamp.exists()
            and self._stamp.read_text() == self._version
            and (self._data / "portal.sqlite3").exists()
        )

    def clear_half_made(self) -> None:
        """Delete the partial data of an interrupted first start. A finished demo is never touched."""
        if self._stamp.exists():
            return
        if self._begun.exists():
            for left in (*self._data.glob("portal.sqlite3*"), *self._data.glob("sandbox.sqlite3*")):
                left.unlink()
        self._begun.touch()

    def keep(self) -> None:
        self._stamp.write_text(self._version)
        self._begun.unlink(missing_ok=True)


# --- Members ------------------------------------------------------------------------------------------


def _member(name: str, *argv: str, env: Mapping[str, str], **options: object) -> Member:
    return Member(name=name, argv=(sys.executable, *argv), env=env, **options)  # type: ignore[arg-type]


def _sandbox(env: Mapping[str, str], data: Path, listening: socket.socket) -> Member:
    options = {
        "fd": listening.fileno(),
        "port": env["SANDBOX_PORT"],
        "data": data / "sandbox.sqlite3",
        "sendgrid-key": env["SANDBOX_SENDGRID_KEY"],
        "sendgrid-eu-key": env["SANDBOX_SENDGRID_EU_KEY"],
        "ahasend-key": env["SANDBOX_AHASEND_KEY"],
        "ahasend-account": env["SANDBOX_AHASEND_ACCOUNT"],
        "admin-key": env["SANDBOX_ADMIN_KEY"],
        "dns-seconds": DNS_SECONDS,
    }
    # With "=", because a random key may begin with a dash.
    argv = [f"--{name}={value}" for name, value in options.items()]
    return _member("sandbox", "-m", "portal.sandbox", *argv, env=env, stop_last=True, pass_fds=(listening.fileno(),))


def _web(env: Mapping[str, str], listening: socket.socket) -> Member:
    return _member(
        "web",
        *("-m", "gunicorn", "-c", "python:portal.gunicorn", "portal.wsgi"),
        env={**env, "WEB_BIND": f"fd://{listening.fileno()}", "WEB_CONCURRENCY": "1"},
        pass_fds=(listening.fileno(),),
    )


def _background(env: Mapping[str, str]) -> list[Member]:
    celery = ("-m", "celery", "-A", "portal", "--quiet")
    # One worker for all queues, with threads: SQLite works best with few writers.
    queues = (
        "--pool=threads",
        "-c",
        "8",
        "-Q",
        ",".join(NAMES),
        "-n",
        "all@%h",
        "--without-gossip",
        "--without-mingle",
    )
    return [
        _member("worker", *celery, "worker", *queues, env={**env, "PORTAL_WORKER": "1"}),
        _member("beat", *celery, "beat", env=env),
    ]


# --- Helpers --------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[bool]:
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


def _end_with_make() -> None:
    """End when make ends, if started by make, even if make was killed."""
    if "MAKELEVEL" in os.environ and sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)


def _web_socket() -> socket.socket:
    if not (wanted := os.environ.get("PORT")):
        return _held_from(WEB_PORT)
    try:
        return _held(int(wanted))
    except OSError as error:
        raise UnableToStart(
            f"Port {wanted} is not available: {error.strerror}. Use another one: PORT=8001 make run"
        ) from error


def _sandbox_socket(data: Path) -> socket.socket:
    """Return a socket on the port of the last start, so that nothing has to be prepared again; on another if it is
    taken."""
    path = data / "demo.env"
    kept = int(_read_env(path).get("SANDBOX_PORT", 0)) if path.exists() else 0
    deadline = time.monotonic() + PORT_WAIT  # a sandbox that is stopping releases its port
    while kept and time.monotonic() < deadline:
        try:
            return _held(kept)
        except OSError:
            time.sleep(0.1)
    return _held_from(SANDBOX_PORT)


def _held_from(first: int) -> socket.socket:
    for port in range(first, first + 100):
        with contextlib.suppress(OSError):
            return _held(port)
    return _held(0)


def _held(port: int) -> socket.socket:
    """Return a socket that holds the port until the demo ends, across restarts of its process.

    It listens at once: two sockets that only bind may share the port. Raises OSError if it is taken.
    """
    held = socket.socket()
    try:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", port))
        held.listen(128)
    except OSError:
        held.close()
        raise
    return held


def _port(held: socket.socket) -> int:
    return int(held.getsockname()[1])


def _status(url: str) -> int:
    """Return the status of a server's response, 0 without one: an accepted connection only means that the port is
    held."""
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as answer:
        with answer:
            return answer.code
    except OSError:
        return 0


def _welcome(url: str, password: str, seconds: float) -> str:
    lines = [f"    {role:<17} {email:<28} {password}" for role, (email, _name) in LOGINS.items()]
    bar = "=" * 78
    head = f"  Postkeeper is ready after {seconds:.1f} s:  {url}/sign-in/"
    return "\n".join(["", bar, head, "", *lines, "", "  Press Ctrl-C to stop. The data is saved.", bar, ""])


def _refuse(sentence: str) -> int:
    print(sentence, file=sys.stderr, flush=True)
    return 1


if __name__ == "__main__":
    sys.exit(main())
