from django.apps import AppConfig

from billing.usage.texts import TEXTS
from portal import metrics, texts


class BillingConfig(AppConfig):
    name = "billing"

    def ready(self) -> None:
        """Register messages, integrity checks and work queues with `customers`, which does not import billing."""
        from billing.usage import due_runs, ledger, measures, rollups  # noqa: PLC0415  they read models: not before this point
        from billing.usage import invariants as of_usage  # noqa: PLC0415  they read models: not before this point
        from customers.monitoring import heartbeat, invariants  # noqa: PLC0415  they read models: not before this point
        from customers.observed import duplicates  # noqa: PLC0415  they read models: not before this point
        from portal.installation import manifest  # noqa: PLC0415  the same

        texts.add_wordings(TEXTS)
        invariants.register(*of_usage.INVARIANTS)
        metrics.also_collect(measures.read_billing)
        heartbeat.also_look_at(due_runs.work)
        duplicates.also_recount(rollups.follow_customers)
        manifest.also_record("ledger_batch", ledger.last_batch)
