"""An account's name, website and monthly cap."""

from __future__ import annotations

import uuid

from django.http import Http404, HttpRequest, HttpResponse


def account_settings(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    raise Http404
