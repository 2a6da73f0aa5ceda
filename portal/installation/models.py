from __future__ import annotations

from django.db import models


class Epoch(models.Model):
    """A time during which the database only went forward. A restore from a backup begins the next one: whatever
    happened at the providers between the backup and the restore is missing in the rows."""

    number = models.PositiveIntegerField(primary_key=True)
    began_at = models.DateTimeField()
    # The moment whose rows were restored. None: the first epoch, from an empty database.
    backup_at = models.DateTimeField(null=True, blank=True)
    # The database that holds this row, as PostgreSQL identifies it; "": no worker has seen it yet.
    database = models.CharField(max_length=80, default="", blank=True)

    class Meta:
        ordering = ("-number",)

    def __str__(self) -> str:
        return str(self.number)


class Backup(models.Model):
    """A run of `manage.py backup` that ended, well or with an `error`."""

    name = models.CharField(max_length=40)
    started_at = models.DateTimeField()
    finished_at = models.DateTimeField()
    # Of the encrypted file.
    bytes = models.PositiveBigIntegerField(default=0)
    error = models.CharField(max_length=500, default="", blank=True)

    class Meta:
        ordering = ("-finished_at",)
        indexes = [models.Index(fields=("-finished_at",), name="backup_latest")]

    def __str__(self) -> str:
        return self.name
