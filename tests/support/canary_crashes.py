"""Mistakes as somebody could make them: a request and a call to a provider fail, and say with what."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import structlog
from django.apps import AppConfig
from django.conf import settings
from django.http import HttpRequest, HttpResponse

HEADER = "X-Crash"
FILE = "crash"


def crashing_view(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    def middleware(request: HttpRequest) -> HttpResponse:
        if HEADER in request.headers:
            form, cookies, headers = request.POST.dict(), request.COOKIES, dict(request.headers)
            structlog.get_logger("canary").error("view fails", form=form, cookies=cookies, headers=headers)
            structlog.get_logger("canary").debug(f"form {form} cookies {cookies}", request=request)
            raise RuntimeError(f"form {form} cookies {cookies} headers {headers}")
        return get_response(request)

    return middleware


class Crashes(AppConfig):
    name = "tests.support"
    label = "canary_crashes"

    def ready(self) -> None:
        """While the file is there, no request to a provider leaves: the call fails with its configuration."""
        from portal.providers.http import Http  # noqa: PLC0415  after all apps

        once = Http._once

        def fail(http: Http, call: Any, deadline: float) -> Any:
            if (settings.DATA_DIR / FILE).exists():
                prepared = http._prepare(call)
                config = http._config
                structlog.get_logger("canary").error("call fails", config=vars(config), headers=prepared.headers)
                raise RuntimeError(f"{vars(config)} {prepared.headers} {prepared.body!r}")
            return once(http, call, deadline)

        Http._once = fail  # type: ignore[method-assign]  # in this process alone
