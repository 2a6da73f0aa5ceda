from django.apps import AppConfig
from django.db.models.signals import post_migrate, pre_migrate

from customers.operations.texts import TEXTS
from portal import metrics, texts


class CustomersConfig(AppConfig):
    name = "customers"

    def ready(self) -> None:
        """Register messages, integrity checks and retention rules, which need loaded models."""
        from customers import audit_words, retention  # noqa: PLC0415  they read models: not before this point
        from customers.connections import credential_requests, credentials  # noqa: PLC0415  the same
        from customers.models import triggers  # noqa: PLC0415  the same
        from customers.monitoring import account_invariants, invariants, measures, operation_invariants  # noqa: PLC0415  the same
        from customers.reconcile import link_requests  # noqa: PLC0415  the same
        from customers.recovery import hold  # noqa: PLC0415  the same
        from customers.recovery import invariants as recovery_invariants  # noqa: PLC0415  the same
        from portal.approvals import actions, kinds  # noqa: PLC0415  the same
        from portal.installation import epochs, manifest  # noqa: PLC0415  the same
        from portal.retention import rules  # noqa: PLC0415  the same

        pre_migrate.connect(triggers.before_migrate, sender=self)
        post_migrate.connect(triggers.after_migrate, sender=self)
        texts.add_wordings(TEXTS)
        audit_words.register_customer_words()
        metrics.also_collect(measures.read_customers)
        invariants.register(*account_invariants.INVARIANTS, *operation_invariants.INVARIANTS)
        invariants.register(*recovery_invariants.INVARIANTS)
        actions.register_action(kinds.ApprovalKind.CREDENTIAL, credential_requests.ACTION)
        actions.register_action(kinds.ApprovalKind.LINK, link_requests.ACTION)
        epochs.on_restore(hold.hold_everything)
        rules.register_rules(*retention.RULES)
        manifest.also_record(manifest.KEY_IDS, lambda: sorted(credentials.secrets_by_key()))
