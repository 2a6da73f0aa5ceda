"""When a run must not go on: the key is refused, or so much is missing that the question itself must be wrong."""

from __future__ import annotations

from dataclasses import dataclass, field

from django.utils.translation import gettext as _

from portal.providers import NotFound, Unauthorized

MISSING_AT_LEAST = 20
MISSING_SHARE = 0.5


@dataclass
class RunGuard:
    """Looks over a worker's shoulder. `stop_for_key` and `stop_for_missing` are sentences once the run has to end."""

    refused: set[int] = field(default_factory=set)
    answers: int = 0
    missing: int = 0
    stop_for_key: str = ""

    def see(self, account_id: int, error: Exception | None) -> None:
        """Two accounts refused for the key, without any good answer in between: it is the key and not the account."""
        self.answers += 1
        self.missing += isinstance(error, NotFound)
        if isinstance(error, Unauthorized):
            self.refused.add(account_id)
            if len(self.refused) >= 2:
                self.stop_for_key = str(error)
        elif error is None:
            self.refused.clear()

    @property
    def stop_for_missing(self) -> str:
        """The provider claims not to know most accounts. Nothing is marked gone either way."""
        if self.missing < MISSING_AT_LEAST or self.missing <= self.answers * MISSING_SHARE:
            return ""
        return _("The provider does not know %(missing)d of %(answers)d accounts. Is it the right key?") % {
            "missing": self.missing, "answers": self.answers,
        }  # fmt: skip

    @property
    def stop(self) -> bool:
        return bool(self.stop_for_key or self.stop_for_missing)
