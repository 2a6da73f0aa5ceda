"""Audit log: who did what, when and where. Call `audit.record(...)` in the transaction of the change."""

from portal.audit.recording import record

__all__ = ["record"]
