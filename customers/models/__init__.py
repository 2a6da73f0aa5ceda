from customers.models.account import Account
from customers.models.connection import Connection, Offering
from customers.models.customer import Customer, Note
from customers.models.operation import Attempt, FinalReading, Operation, Step

__all__ = [
    "Account",
    "Attempt",
    "Connection",
    "Customer",
    "FinalReading",
    "Note",
    "Offering",
    "Operation",
    "Step",
]
