"""Documents of a closed statement beyond its page and its file: the dispute pack."""

from __future__ import annotations

import uuid

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404
from django.views.decorators.http import require_GET

from billing.closing.documents.pack import Pack
from billing.models import Side, Statement
from portal.downloads import archive, recorded_download


@require_GET
def dispute_pack(request: HttpRequest, public_id: uuid.UUID) -> HttpResponseBase:
    """Send everything that a customer's closed statement was made from, as one ZIP."""
    closed = Statement.objects.filter(side=Side.SELL, state=Statement.State.CLOSED).exclude(currency="")
    statement = get_object_or_404(closed.select_related("customer"), public_id=public_id)
    pack = Pack(statement)
    facts = {"month": f"{statement.month:%Y-%m}"}
    name = pack.number or f"{statement.month:%Y-%m}-{statement.public_id.hex[:8]}"
    assert statement.closed_at  # noqa: S101 - a closed one has it
    filename = f"statement-{name.replace('/', '-')}.zip"
    content = archive(statement.closed_at, pack.members())
    return recorded_download(request, filename, content, verb="statements.pack_exported", obj=statement, facts=facts)
