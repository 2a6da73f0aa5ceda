from __future__ import annotations

from django.db import models


class BrowserReport(models.Model):
    """A kind of content that browsers refused because of the content policy, one row each, with the number of reports.

    No address, user, query string or part of a page is stored: paths of the portal are stored as route names.
    """

    directive = models.CharField(max_length=60)
    blocked = models.CharField(max_length=200)
    page = models.CharField(max_length=100)
    browser = models.CharField(max_length=20)
    # Caused by an extension of the browser, not by a page of the portal.
    is_extension = models.BooleanField(default=False)
    count = models.PositiveBigIntegerField(default=1)
    first_seen_at = models.DateTimeField()
    last_seen_at = models.DateTimeField(db_index=True)

    class Meta:
        ordering = ("-last_seen_at", "-pk")
        constraints = [
            models.UniqueConstraint(
                fields=("directive", "blocked", "page", "browser", "is_extension"), name="browser_report_kind_once"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.directive}: {self.blocked}"
