"""The API keys of an account."""

from __future__ import annotations

import uuid

from django.http import Http404, HttpRequest, HttpResponse


def key_list(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    raise Http404


def key_create(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    raise Http404


def key_edit(request: HttpRequest, public_id: uuid.UUID, key_id: str) -> HttpResponse:
    raise Http404


def key_rotate(request: HttpRequest, public_id: uuid.UUID, key_id: str) -> HttpResponse:
    raise Http404


def key_delete(request: HttpRequest, public_id: uuid.UUID, key_id: str) -> HttpResponse:
    raise Http404


def key_secret(request: HttpRequest, public_id: uuid.UUID, key_id: str) -> HttpResponse:
    raise Http404
