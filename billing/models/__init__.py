from billing.models.exports import LedgerBatch, UsageExport
from billing.models.figures import (
    MOST_USED,
    NOT_OVER,
    UNDECIDED,
    Anomaly,
    Decision,
    FigureVersion,
    Ledger,
    MonthTotal,
    ResetZone,
    StatisticsReading,
    Status,
    UsagePeriod,
    UsageRollup,
)
from billing.models.readings import MidnightReading, PooledSnapshot, UsageSnapshot
from billing.models.runs import SyncItem, SyncRun

__all__ = [
    "MOST_USED",
    "NOT_OVER",
    "UNDECIDED",
    "Anomaly",
    "Decision",
    "FigureVersion",
    "Ledger",
    "LedgerBatch",
    "MidnightReading",
    "MonthTotal",
    "PooledSnapshot",
    "ResetZone",
    "StatisticsReading",
    "Status",
    "SyncItem",
    "SyncRun",
    "UsageExport",
    "UsagePeriod",
    "UsageRollup",
    "UsageSnapshot",
]
