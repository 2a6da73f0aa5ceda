"""From provisioned to sending: domains, their DNS records, a test message."""

from __future__ import annotations

import uuid

from django.http import Http404, HttpRequest, HttpResponse


def sending_setup(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    raise Http404


def domain_add(request: HttpRequest, public_id: uuid.UUID) -> HttpResponse:
    raise Http404


def domain_detail(request: HttpRequest, public_id: uuid.UUID, name: str) -> HttpResponse:
    raise Http404


def domain_check(request: HttpRequest, public_id: uuid.UUID, name: str) -> HttpResponse:
    raise Http404


def test_message(request: HttpRequest, public_id: uuid.UUID, name: str) -> HttpResponse:
    raise Http404
