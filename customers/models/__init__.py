from customers.models.account import Account
from customers.models.breaker import Breaker
from customers.models.bulk import ChangeSet, ChangeSetItem
from customers.models.connection import Connection, Offering
from customers.models.customer import Customer, Note
from customers.models.drift import DriftIgnore
from customers.models.estate import Takeover, TakeoverItem
from customers.models.keys import AccountKey, KeySecret, SendingDomain
from customers.models.operation import Attempt, FinalReading, Operation, Step
from customers.models.schedule import Hold, Schedule
from customers.models.sighting import Scan, Sighting
from customers.models.sign_in import SignInRequest
from customers.models.submission import Submission
from customers.models.watch import Heartbeat, InvariantCheck

__all__ = [
    "Account",
    "AccountKey",
    "Attempt",
    "Breaker",
    "ChangeSet",
    "ChangeSetItem",
    "Connection",
    "Customer",
    "DriftIgnore",
    "FinalReading",
    "Heartbeat",
    "Hold",
    "InvariantCheck",
    "KeySecret",
    "Note",
    "Offering",
    "Operation",
    "Scan",
    "Schedule",
    "SendingDomain",
    "Sighting",
    "SignInRequest",
    "Step",
    "Submission",
    "Takeover",
    "TakeoverItem",
]
