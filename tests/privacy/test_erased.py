"""The list of erased persons, and the repetition of their erasure after a restore."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from django.core.management import call_command
from pytest_django import Settings

from customers.models import Customer
from customers.monitoring.doctor.work import check_erasures
from portal.audit.models import AuditEvent
from portal.privacy import erased as erased_list
from portal.privacy.models import ErasedSubject, SubjectRequest
from tests.privacy.planted import EMAIL, NAME, erased, gone_account, planted_customer, searched, settled, traces
from tests.support.factories import CustomerFactory, UserFactory

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def folder(settings: Settings, tmp_path: Path) -> Path:
    settings.BACKUP_DIR = tmp_path / "backups"
    return settings.BACKUP_DIR


def test_the_list_beside_the_backups_has_hashes_alone(folder: Path, django_capture_on_commit_callbacks: object) -> None:
    gone_account()
    request = erased(searched())
    erased_list.write_list()
    erased_list.write_list()
    (line,) = (folder / "erasures.jsonl").read_text().splitlines()
    entry = json.loads(line)
    assert entry["code"] == request.code
    assert entry["hashes"] == ErasedSubject.objects.get().hashes
    assert EMAIL.partition("@")[2] not in line


def test_who_comes_back_by_a_restore_is_erased_again(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gone_account()
    erased(searched())
    erased_list.write_list()
    # The backup is of before: the database knows nothing of the erasure.
    ErasedSubject.objects.all().delete()
    SubjectRequest.objects.all().delete()
    Customer.objects.update(email=EMAIL.upper())
    CustomerFactory(email="other@company.example")
    call_command("repeat_erasures", "--dry-run")
    assert "1 persons to erase again. Nothing was changed." in capsys.readouterr().out
    assert SubjectRequest.objects.count() == 0
    (finding,) = check_erasures()
    assert (finding.code, finding.fix) == ("erasures.undone", "manage.py repeat_erasures")
    call_command("repeat_erasures")
    request = SubjectRequest.objects.get()
    assert (request.requested_by, request.state) == (None, "erasing")
    assert settled(request).state == "erased"
    assert traces() == []
    assert AuditEvent.objects.filter(verb="personal_data.erased").count() == 2
    call_command("repeat_erasures")
    assert list(check_erasures()) == []
    assert SubjectRequest.objects.count() == 1, "nobody is left to erase"


def test_another_list_is_read_and_a_torn_line_is_left_out(tmp_path: Path) -> None:
    planted_customer()
    torn = tmp_path / "copy.jsonl"
    torn.write_text(json.dumps({"code": "AB", "hashes": erased_list.hashes_of_address(EMAIL)}) + '\n{"code": "CD", "ha')
    (due,) = erased_list.due_again([torn])
    assert (due.code, due.subject.title) == ("AB", EMAIL)


def test_a_member_who_comes_back_is_erased_as_one() -> None:
    member = UserFactory(email=EMAIL, name=NAME, is_active=False)
    erased(searched(EMAIL, kind="member"))
    type(member).objects.filter(pk=member.pk).update(email=EMAIL, name=NAME)
    (due,) = erased_list.due_again()
    assert due.subject.user == member


def test_a_folder_that_cannot_be_written_stops_nothing(folder: Path, settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    settings.BACKUP_DIR = tmp_path / "file"
    gone_account()
    assert erased(searched()).state == "erased"
    erased_list.write_list()
