from customers.models.account import Account
from customers.models.account_import import AccountImport, AccountImportItem
from customers.models.breaker import Breaker
from customers.models.bulk import ChangeSet, ChangeSetItem
from customers.models.connection import Connection, Offering
from customers.models.customer import Customer, Note
from customers.models.drift import DriftIgnore
from customers.models.keys import AccountKey, KeySecret, SendingDomain
from customers.models.operation import Attempt, Operation, Step, UsageReading
from customers.models.recovery import Recovery
from customers.models.remote_account import RemoteAccount, Scan
from customers.models.schedule import Hold, Schedule
from customers.models.sign_in import SignInRequest
from customers.models.span import AccountSpan
from customers.models.submission import Submission
from customers.models.watch import Heartbeat, InvariantCheck

__all__ = [
    "Account",
    "AccountImport",
    "AccountImportItem",
    "AccountKey",
    "AccountSpan",
    "Attempt",
    "Breaker",
    "ChangeSet",
    "ChangeSetItem",
    "Connection",
    "Customer",
    "DriftIgnore",
    "Heartbeat",
    "Hold",
    "InvariantCheck",
    "KeySecret",
    "Note",
    "Offering",
    "Operation",
    "Recovery",
    "RemoteAccount",
    "Scan",
    "Schedule",
    "SendingDomain",
    "SignInRequest",
    "Step",
    "Submission",
    "UsageReading",
]
