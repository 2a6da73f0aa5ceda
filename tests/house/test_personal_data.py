"""Every column has a decision about personal data, and the reference page says what each is."""

from __future__ import annotations

import pytest
from django.db import models
from django.test.utils import isolate_apps
from django.utils import timezone

from portal import personal_data
from portal.personal_data import declarations, personal_tables, undecided
from portal.retention.rules import retention_rules
from tests.house.personal_data_table import made_table, stored_table


def test_every_column_of_every_table_has_a_decision() -> None:
    assert undecided() == []


def test_a_column_without_a_decision_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    with isolate_apps("portal.privacy"):

        class Diary(models.Model):
            entry = models.TextField()
            day = models.DateField()

            class Meta:
                app_label = "privacy"

            def __str__(self) -> str:
                return self.entry

    monkeypatch.setattr(personal_data.apps, "get_models", lambda **_: [Diary])
    monkeypatch.setattr(personal_data, "_declared", {})
    assert undecided() == ["privacy.Diary.entry has no decision"]


def test_what_names_a_person_says_why_and_how_long() -> None:
    for each in personal_tables():
        assert all(str(text) for text in (each.name, each.why, each.until, *each.kept.values())), each.model


def test_an_erasable_column_of_an_append_only_table_is_permitted() -> None:
    for each in declarations():
        assert not (each.append_only and each.frozen), each.model
        assert not (each.secret and set(each.secret) - {name.name for name in each.table._meta.concrete_fields})


def test_the_reference_page_has_the_table_of_declarations() -> None:
    assert stored_table() == made_table(), "run: python -m tests.house.personal_data_table"


@pytest.mark.django_db
def test_what_retention_removes_says_so_and_nothing_else() -> None:
    rules = [each for each in retention_rules() if not each.is_fixed]
    removed = {model._meta.label for each in rules for model, _field in each.parts}
    removed |= {each.rows(timezone.now()).model._meta.label for each in rules}
    told = {each.model for each in personal_tables() if "retention settings" in str(each.until)}
    assert told == removed & {each.model for each in personal_tables()}
