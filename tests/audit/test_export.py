"""The file of the audit log: the same bytes, whichever way its lines are made."""

from __future__ import annotations

import pytest
from django.http import QueryDict

from portal import audit
from portal.audit.export import HEADER, audit_export_lines, audit_export_rows
from portal.audit.models import AuditEvent
from portal.audit.queries import AuditFilters, events
from portal.exports import csv_lines
from tests.support.factories import CustomerFactory, UserFactory

pytestmark = [pytest.mark.django_db, pytest.mark.both]


@pytest.mark.parametrize("query", ["", "verb=customer.edited", "person=portal", "customer=hyper"])
def test_the_lines_are_those_of_the_rows(query: str) -> None:
    person, customer = UserFactory(name="=Ada"), CustomerFactory(company_name="=HYPERLINK(1)")
    before, after = {"state": "active", "cap": None}, {"state": "stopped_by_us", "cap": 5, "x_y": ["a", "=b"]}
    audit.record(actor=person, verb="customer.edited", obj=customer, customer=customer, before=before, after=after)
    audit.record(actor=None, verb="invoice.closed_again", obj=None, reason='a;"=2"', after={"text": "\n=1"})
    AuditEvent.objects.create(verb="note.added", ip="2001:db8::1", request_id="-1", actor_label="x", before=["a"])
    AuditEvent.objects.create(verb="note.added", ip="192.0.2.7", before="old", after="old")
    found = events(AuditFilters(QueryDict(query)))
    expected = list(csv_lines(audit_export_rows(found)))
    assert list(audit_export_lines(found)) == expected
    assert expected
    assert len(next(audit_export_rows(found))) == len(HEADER)
