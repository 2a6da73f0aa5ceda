from django.apps import AppConfig

from billing.usage.texts import TEXTS
from portal import texts


class BillingConfig(AppConfig):
    name = "billing"

    def ready(self) -> None:
        """Register messages, integrity checks and work queues with `customers`, which does not import billing."""
        from billing.usage import due_runs, rollups  # noqa: PLC0415  they read models: not before this point
        from billing.usage import invariants as of_usage  # noqa: PLC0415  they read models: not before this point
        from customers.monitoring import heartbeat, invariants  # noqa: PLC0415  they read models: not before this point
        from customers.observed import duplicates  # noqa: PLC0415  they read models: not before this point

        texts.add_wordings(TEXTS)
        invariants.register(*of_usage.INVARIANTS)
        heartbeat.also_look_at(due_runs.work)
        duplicates.also_recount(rollups.follow_customers)
