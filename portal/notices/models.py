from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import Q


class Notice(models.Model):
    """Notice to all admins, or to the person `to`. At most one of a kind and subject is active."""

    EVENT = "event."  # begins the kind of a notice of an audit event
    # Of a change without approval. It is mailed also to a person who was disabled since.
    BROKE_GLASS = f"{EVENT}approval.broke_glass"

    kind = models.CharField(max_length=40)
    about = models.CharField(max_length=100)
    title = models.CharField(max_length=200)
    text = models.CharField(max_length=1000)
    path = models.CharField(max_length=200)
    to = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.CASCADE, related_name="+")
    raised_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True)
    # Mail: time of the next attempt, number of attempts, time it was sent and number of recipients.
    not_before = models.DateTimeField()
    tries = models.PositiveSmallIntegerField(default=0)
    mailed_at = models.DateTimeField(null=True)
    mailed_to = models.PositiveSmallIntegerField(default=0)

    class Meta:
        ordering = ("-raised_at", "-pk")
        constraints = [
            models.UniqueConstraint(fields=("kind", "about"), condition=Q(ended_at=None), name="notice_lasts_once"),
        ]
        indexes = [models.Index(fields=("not_before",), condition=Q(mailed_at=None), name="notice_to_mail")]

    def __str__(self) -> str:
        return self.title

    @property
    def is_of_event(self) -> bool:
        return self.kind.startswith(self.EVENT)
