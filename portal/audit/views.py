from __future__ import annotations

from django.http import Http404, HttpRequest, HttpResponse


def _later(request: HttpRequest) -> HttpResponse:
    raise Http404


audit_list = audit_export = _later
