"""Storage of the sandbox: one SQLite file, one connection, one request at a time.

Each request is one IMMEDIATE transaction under one lock, so a side effect and its line in the request log are stored
together or not at all, and a killed sandbox restarts with exactly what it had answered.
"""

import json
import random
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from portal.sandbox.admin.switches import Switches
from portal.sandbox.clock import Clock

SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS organisation (
    id TEXT PRIMARY KEY, name TEXT NOT NULL, username TEXT NOT NULL UNIQUE, password TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS api_key (
    key TEXT PRIMARY KEY, label TEXT NOT NULL, organisation TEXT NOT NULL REFERENCES organisation,
    region TEXT NOT NULL CHECK (region IN ('global', 'eu')), reseller INTEGER NOT NULL DEFAULT 1,
    missing_scopes TEXT NOT NULL DEFAULT '[]', revoked INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE IF NOT EXISTS catalogue (
    position INTEGER PRIMARY KEY, organisation TEXT NOT NULL REFERENCES organisation, name TEXT NOT NULL,
    type TEXT NOT NULL, display_name TEXT NOT NULL, free INTEGER NOT NULL, entitlements TEXT,
    gone INTEGER NOT NULL DEFAULT 0, UNIQUE (organisation, name)
);
CREATE TABLE IF NOT EXISTS account (
    seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, organisation TEXT NOT NULL REFERENCES organisation,
    region TEXT NOT NULL, email TEXT, profile TEXT NOT NULL, username TEXT NOT NULL, user_id INTEGER NOT NULL,
    test INTEGER NOT NULL, state TEXT NOT NULL, offerings TEXT NOT NULL, ips TEXT NOT NULL DEFAULT '[]',
    subusers INTEGER NOT NULL DEFAULT 0, reputation REAL NOT NULL, anchor_day INTEGER NOT NULL,
    created_at REAL NOT NULL, updated_at REAL NOT NULL, listed_at REAL NOT NULL, ready_at REAL NOT NULL,
    deleted_at REAL, UNIQUE (organisation, username)
);
CREATE INDEX IF NOT EXISTS account_by_region ON account (organisation, region, seq) WHERE deleted_at IS NULL;
CREATE TABLE IF NOT EXISTS history (
    id INTEGER PRIMARY KEY, account TEXT NOT NULL, at REAL NOT NULL, kind TEXT NOT NULL, value TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS history_by_account ON history (account, at, id);
CREATE TABLE IF NOT EXISTS usage_added (
    id INTEGER PRIMARY KEY, account TEXT NOT NULL, at REAL NOT NULL, requests INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS usage_added_by_account ON usage_added (account, at);
CREATE TABLE IF NOT EXISTS own_switch (
    owner TEXT NOT NULL, name TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (owner, name)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS override (
    id INTEGER PRIMARY KEY, account TEXT NOT NULL, operation TEXT NOT NULL, fields TEXT NOT NULL, remaining INTEGER
);
CREATE INDEX IF NOT EXISTS override_by_account ON override (account, operation);
CREATE TABLE IF NOT EXISTS sso_code (
    code TEXT PRIMARY KEY, account TEXT NOT NULL, created_at REAL NOT NULL, used_at REAL
);
CREATE TABLE IF NOT EXISTS fault (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL, operation TEXT NOT NULL, count INTEGER, probability REAL,
    after INTEGER NOT NULL DEFAULT 0, email TEXT, params TEXT NOT NULL DEFAULT '{}',
    hits INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE IF NOT EXISTS request_log (
    id INTEGER PRIMARY KEY, at REAL NOT NULL, method TEXT NOT NULL, path TEXT NOT NULL,
    operation TEXT NOT NULL, organisation TEXT, region TEXT, key_label TEXT, account TEXT, body TEXT,
    status INTEGER, fault TEXT, leaked INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE IF NOT EXISTS aha_account (
    seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, parent TEXT REFERENCES aha_account (id), name TEXT NOT NULL,
    website TEXT NOT NULL, monthly_credit INTEGER NOT NULL DEFAULT 0, suspended INTEGER NOT NULL DEFAULT 0,
    reason TEXT, odd_status TEXT, member_count INTEGER NOT NULL DEFAULT 0, created_at REAL NOT NULL, deleted_at REAL
);
CREATE INDEX IF NOT EXISTS aha_account_by_parent ON aha_account (parent, seq);
CREATE VIEW IF NOT EXISTS aha_account_seen AS
    SELECT own.*, coalesce(parent.suspended, 0) AS parent_suspended
    FROM aha_account AS own LEFT JOIN aha_account AS parent ON parent.id = own.parent;
CREATE TABLE IF NOT EXISTS aha_key (
    seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, account TEXT NOT NULL REFERENCES aha_account (id),
    label TEXT NOT NULL, public_key TEXT NOT NULL, secret TEXT NOT NULL UNIQUE, scopes TEXT NOT NULL,
    ip_allow_list TEXT NOT NULL, created_at REAL NOT NULL, updated_at REAL NOT NULL, last_used_at REAL,
    deleted_at REAL
);
CREATE INDEX IF NOT EXISTS aha_key_by_account ON aha_key (account, seq);
CREATE TABLE IF NOT EXISTS aha_idempotency (
    account TEXT NOT NULL, key TEXT NOT NULL, digest TEXT NOT NULL, operation TEXT NOT NULL, lease_until REAL NOT NULL,
    lease INTEGER NOT NULL, finished_at REAL, expires_at REAL, status INTEGER, body BLOB, PRIMARY KEY (account, key)
);
CREATE TABLE IF NOT EXISTS aha_domain (
    seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, account TEXT NOT NULL REFERENCES aha_account (id),
    domain TEXT NOT NULL, records TEXT NOT NULL, settings TEXT NOT NULL, paused INTEGER NOT NULL DEFAULT 0,
    created_at REAL NOT NULL, updated_at REAL NOT NULL, checked_at REAL, UNIQUE (account, domain)
);
CREATE TABLE IF NOT EXISTS aha_message (
    seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, account TEXT NOT NULL REFERENCES aha_account (id),
    domain_id TEXT NOT NULL, message_id TEXT NOT NULL, sender TEXT NOT NULL, recipient TEXT NOT NULL,
    subject TEXT NOT NULL, tags TEXT NOT NULL, outcome TEXT NOT NULL, sandbox INTEGER NOT NULL,
    created_at REAL NOT NULL, due_at REAL NOT NULL
);
CREATE INDEX IF NOT EXISTS aha_message_by_account ON aha_message (account, seq);
"""
# Columns that older files don't have: table, column, definition.
ADDED_COLUMNS = (("usage_added", "sender", "TEXT NOT NULL DEFAULT 'account'"),)
TABLES = (
    "aha_message",
    "aha_domain",
    "aha_idempotency",
    "aha_key",
    "aha_account",
    "request_log",
    "fault",
    "sso_code",
    "override",
    "own_switch",
    "usage_added",
    "history",
    "account",
    "catalogue",
    "api_key",
    "organisation",
    "meta",
)


def first_row(db: sqlite3.Connection, query: str, *values: object) -> sqlite3.Row | None:
    row: sqlite3.Row | None = db.execute(query, values).fetchone()
    return row


class Store:
    def __init__(self, path: str, *, seed: int | None = None) -> None:
        # Transactions are opened explicitly (isolation_level None); the lock makes sharing the connection safe.
        self.db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=5)
        self.db.row_factory = sqlite3.Row
        self._lock = threading.RLock()
        self.db.execute("PRAGMA journal_mode = WAL")
        self.db.execute("PRAGMA synchronous = NORMAL")
        self.db.execute("PRAGMA foreign_keys = ON")
        self.db.executescript(SCHEMA)
        for table, column, definition in ADDED_COLUMNS:
            if column not in {row["name"] for row in self.db.execute(f"PRAGMA table_info({table})")}:
                self.db.execute(f"ALTER TABLE {table} ADD COLUMN {column} {definition}")
        self.clock = Clock(*(self.meta("clock") or (0.0, None)))
        self.switches = Switches(self.meta("switches") or {})
        if self.meta("seed") is None:
            # Not for secrets: the sandbox protects nothing, and runs should be repeatable.
            self.set_meta("seed", random.SystemRandom().getrandbits(32) if seed is None else seed)

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            self.db.execute("BEGIN IMMEDIATE")
            try:
                yield self.db
            except BaseException:
                self.db.execute("ROLLBACK")
                raise
            self.db.execute("COMMIT")

    def meta(self, name: str) -> Any:
        row = first_row(self.db, "SELECT value FROM meta WHERE name = ?", name)
        return None if row is None else json.loads(row["value"])

    def set_meta(self, name: str, value: Any) -> None:
        self.db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, json.dumps(value)))

    def rng(self, stream: str) -> random.Random:
        """Return the next generator of a named stream: repeatable from the seed, and not restarted with the process.

        Streams are separate so that arming a fault does not change the IDs of accounts created afterwards. Keys are
        generated from it too: the sandbox protects nothing.
        """
        drawn = (self.meta(f"rng:{stream}") or 0) + 1
        self.set_meta(f"rng:{stream}", drawn)
        return random.Random(f"{self.meta('seed')}:{stream}:{drawn}")  # noqa: S311 - see above

    def keep_clock(self) -> None:
        self.set_meta("clock", self.clock.setting)

    def keep_switches(self) -> None:
        self.set_meta("switches", self.switches.changed)

    def wipe(self) -> None:
        """Delete everything but the seed; the caller restores the initial data."""
        seed = self.meta("seed")
        for table in TABLES:
            self.db.execute(f"DELETE FROM {table}")  # noqa: S608 - a name from our list
        self.set_meta("seed", seed)
        self.clock.setting = (0.0, None)
        self.switches.reset()

    def close(self) -> None:
        with self._lock:
            self.db.close()
