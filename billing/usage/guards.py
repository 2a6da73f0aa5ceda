"""Guards that stop a run: the key is rejected, or so many accounts are missing that the key is probably wrong."""

from __future__ import annotations

from dataclasses import dataclass, field

from portal.providers import NotFound, Unauthorized
from portal.texts import say

MISSING_AT_LEAST = 20
MISSING_SHARE = 0.5


@dataclass
class RunGuard:
    """Watch over a run's results. `stop_for_key` and `stop_for_missing` hold a message once the run has to end."""

    refused: set[int] = field(default_factory=set)
    answers: int = 0
    missing: int = 0
    stop_for_key: str = ""

    def see(self, account_id: int, error: Exception | None) -> None:
        """Count one result. Two accounts rejected without a success in between mean that the key is at fault."""
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
        """Message if most accounts are unknown to the provider. They are not marked as deleted."""
        if self.missing < MISSING_AT_LEAST or self.missing <= self.answers * MISSING_SHARE:
            return ""
        return say("run.accounts_missing", missing=self.missing, answers=self.answers)

    @property
    def stop(self) -> bool:
        return bool(self.stop_for_key or self.stop_for_missing)
