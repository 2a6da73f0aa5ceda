from django.apps import AppConfig

from billing.usage.texts import TEXTS
from portal import metrics, texts


class BillingConfig(AppConfig):
    name = "billing"

    def ready(self) -> None:
        """Register messages, integrity checks and work queues with `customers`, which does not import billing."""
        from billing.closing.runs import close_requests  # noqa: PLC0415  they read models: not before this point
        from billing.closing.runs import verification as of_closed_months  # noqa: PLC0415  they read models: not before this point
        from billing.pricing.statements import ownership  # noqa: PLC0415  they read models: not before this point
        from billing.usage import due_runs, ledger, measures, rollups  # noqa: PLC0415  they read models: not before this point
        from billing.usage import invariants as of_usage  # noqa: PLC0415  they read models: not before this point
        from customers.monitoring import heartbeat, invariants  # noqa: PLC0415  they read models: not before this point
        from customers.observed import duplicates  # noqa: PLC0415  they read models: not before this point
        from portal.approvals import actions, kinds  # noqa: PLC0415  the same
        from portal.audit import expiry  # noqa: PLC0415  the same
        from portal.installation import manifest  # noqa: PLC0415  the same

        texts.add_wordings(TEXTS)
        invariants.register(*of_usage.INVARIANTS, *of_closed_months.INVARIANTS)
        actions.register_action(kinds.ApprovalKind.CLOSE, close_requests.ACTION)
        metrics.also_collect(measures.read_billing)
        heartbeat.also_look_at(due_runs.work)
        duplicates.also_recount(rollups.follow_customers)
        expiry.before_removal(ownership.store_moves)
        manifest.also_record("ledger_batch", ledger.last_batch)
