"""Check a process of this machine: `python -m portal.health_probe healthz` (or readyz) the web server, `beat` the
scheduler, `ops` the worker that is named ops@... The exit code is 0 if it is healthy. A process that has been silent
for three minutes is ended, so that whatever started it starts it again."""

from __future__ import annotations

import http.client
import os
import sys

import environ

from portal import env_file, liveness


def main(name: str, after: float = liveness.HUNG_AFTER) -> int:
    env_file.load()
    if name not in ("healthz", "readyz"):
        return 0 if liveness.end_if_hung(name, after=after) else 1
    if _answers(name):
        liveness.renew("web")
        return 0
    if name == "healthz":
        liveness.end_if_hung("web", after=after)
    return 1


def _answers(page: str) -> bool:
    host, _, port = os.environ.get("WEB_BIND", "127.0.0.1:8000").rpartition(":")
    here = http.client.HTTPConnection("127.0.0.1" if host == "0.0.0.0" else host, int(port), timeout=3)  # noqa: S104
    # The Host header of readyz must be an allowed one, or Django rejects the request. LOOPBACK_ONLY replaces the list.
    allowed = os.environ.get("ALLOWED_HOSTS", "localhost").split(",")[0].strip()
    name = "localhost" if environ.Env().bool("LOOPBACK_ONLY", default=False) else allowed
    try:
        here.request("GET", f"/{page}", headers={"Host": name})
        return here.getresponse().status == 200
    except OSError:
        return False
    finally:
        here.close()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], *map(float, sys.argv[2:])))
