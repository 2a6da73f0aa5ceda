"""Command line, shared by `python -m portal.sandbox` and `manage.py sandbox`. Needs no Django."""

import argparse
import ipaddress
import signal
import sys
import uuid
from collections.abc import Sequence
from dataclasses import asdict
from types import FrameType

from portal.sandbox.app import Application
from portal.sandbox.faults import UnableToArm
from portal.sandbox.seed import Start
from portal.sandbox.server import SandboxServer
from portal.sandbox.store import Store

GREETING = """\
Postkeeper sandbox: a provider simulator. It sends no email and costs nothing.
SendGrid base URL       {url}   (EU region: {url}/eu, global region: {url}/global)
SendGrid key            {key}
SendGrid EU key         {eu_key}
AhaSend base URL        {url}
AhaSend key             {ahasend_key}
AhaSend account         {ahasend_account}
SendGrid v2 login       {username} / {password}   (rejected until the switch v2_password_login is on)
Admin key               {admin_key}   (header X-Sandbox-Admin, paths under /_admin/)
Data                    {data}
ready {url}
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--port", type=int, required=True, help="port to listen on (0: any free port)")
    parser.add_argument("--fd", type=int, help="file descriptor of a socket that is already listening")
    parser.add_argument("--data", default=":memory:", help="SQLite file (default: :memory:)")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument(
        "--allow-public", action="store_true", help=("allow listening on an address that other machines can reach")
    )
    parser.add_argument("--sendgrid-key", help="API key of the global organization")
    parser.add_argument("--sendgrid-eu-key", help="API key of the EU organization")
    parser.add_argument("--ahasend-key", help="API key of the AhaSend parent account")
    parser.add_argument("--ahasend-account", type=_uuid, help="ID of the AhaSend parent account")
    parser.add_argument("--admin-key", help="key of the admin API")
    parser.add_argument("--latency-ms", type=_natural, help="delay before every response")
    parser.add_argument("--rate", type=_natural, help="requests per minute for each key and operation (0: no limit)")
    parser.add_argument(
        "--dns-seconds", type=_natural, help="publish a domain's DNS records that long after it was added; 0 for never"
    )
    parser.add_argument(
        "--accounts",
        type=_natural,
        help="add that many accounts, the ones of `manage.py seed`; only to a data file without any",
    )
    parser.add_argument(
        "--fault",
        action="append",
        default=[],
        metavar="[OPERATION/]NAME[:COUNT|:PROB]",
        help="fault to inject; can be repeated",
    )
    parser.add_argument(
        "--seed", type=int, help=("make IDs, keys and random values repeatable; only for a new data file")
    )


def run(options: argparse.Namespace) -> int:
    """Serve until SIGTERM or Ctrl-C; return 0 after a clean end, 2 for an invalid argument."""
    if not options.allow_public and not _is_loopback(options.host):
        return _refuse(f"{options.host} can be reached from other machines. Add --allow-public to confirm.")
    store = Store(options.data, seed=options.seed)
    start = Start(
        sendgrid_key=options.sendgrid_key,
        sendgrid_eu_key=options.sendgrid_eu_key,
        ahasend_key=options.ahasend_key,
        ahasend_account=options.ahasend_account,
        admin_key=options.admin_key,
        latency_ms=options.latency_ms,
        rate=options.rate,
        dns_seconds=options.dns_seconds,
        accounts=options.accounts,
        faults=tuple(options.fault),
    )
    try:
        server = SandboxServer(options.host, options.port, app := Application(store, start), fd=options.fd)
    except (UnableToArm, OSError) as error:
        store.close()
        return _refuse(str(error))
    signal.signal(signal.SIGTERM, _stop)
    _greet(app, options.data)
    try:
        server.serve_forever()
    except (KeyboardInterrupt, SystemExit):
        pass
    finally:
        server.server_close()
        store.close()
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="sandbox", description="Provider simulator.")
    add_arguments(parser)
    return run(parser.parse_args(arguments))


def _greet(app: Application, data: str) -> None:
    sys.stdout.write(GREETING.format(url=app.base_url, data=data, **asdict(app.credentials)))
    sys.stdout.flush()


def _stop(_signal: int, _frame: FrameType | None) -> None:
    raise SystemExit(0)


def _refuse(sentence: str) -> int:
    sys.stderr.write(f"sandbox: {sentence}\n")
    return 2


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _natural(text: str) -> int:
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError("must be 0 or more")
    return number


def _uuid(text: str) -> str:
    try:
        return str(uuid.UUID(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError("must be a UUID") from error
