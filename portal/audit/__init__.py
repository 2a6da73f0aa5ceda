"""Who did what, when, from where: `from portal import audit; audit.record(...)` in the transaction of the change."""

from portal.audit.recording import record

__all__ = ["record"]
