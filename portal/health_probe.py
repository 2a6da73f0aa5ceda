"""Check the local web process: `python -m portal.health_probe healthz` (or readyz); the exit code is 0 if it is
healthy."""

from __future__ import annotations

import http.client
import os
import sys

import environ

from portal import env_file


def main(page: str) -> int:
    env_file.load()
    host, _, port = os.environ.get("WEB_BIND", "127.0.0.1:8000").rpartition(":")
    here = http.client.HTTPConnection("127.0.0.1" if host == "0.0.0.0" else host, int(port), timeout=3)  # noqa: S104
    # The Host header of readyz must be an allowed one, or Django rejects the request. LOOPBACK_ONLY replaces the list.
    allowed = os.environ.get("ALLOWED_HOSTS", "localhost").split(",")[0].strip()
    name = "localhost" if environ.Env().bool("LOOPBACK_ONLY", default=False) else allowed
    try:
        here.request("GET", f"/{page}", headers={"Host": name})
        return 0 if here.getresponse().status == 200 else 1
    except OSError:
        return 1
    finally:
        here.close()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
