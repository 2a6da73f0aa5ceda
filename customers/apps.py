from collections.abc import Mapping
from typing import Any

from django.apps import AppConfig
from django.db.models.signals import post_migrate, pre_migrate
from django.utils.translation import gettext_lazy as _

from customers.operations.texts import TEXTS
from portal import metrics, texts
from portal.audit import differences
from portal.providers import CAPABILITIES


class CustomersConfig(AppConfig):
    name = "customers"

    def ready(self) -> None:
        """Register messages, integrity checks and retention rules, which need loaded models."""
        from customers import retention  # noqa: PLC0415  it reads models: not before this point
        from customers.connections import credential_requests, credentials  # noqa: PLC0415  they read models: not before this point
        from customers.models import triggers  # noqa: PLC0415  they read models: not before this point
        from customers.monitoring import account_invariants, invariants, measures, operation_invariants  # noqa: PLC0415  they read models: not before this point
        from customers.reconcile import link_requests  # noqa: PLC0415  the same
        from customers.recovery import hold  # noqa: PLC0415  the same
        from customers.recovery import invariants as recovery_invariants  # noqa: PLC0415  the same
        from portal.approvals import actions, kinds  # noqa: PLC0415  the same
        from portal.installation import epochs, manifest  # noqa: PLC0415  the same
        from portal.retention import rules  # noqa: PLC0415  the same

        pre_migrate.connect(triggers.before_migrate, sender=self)
        post_migrate.connect(triggers.after_migrate, sender=self)
        texts.add_wordings(TEXTS)
        differences.add_labels(audit_labels())
        metrics.also_collect(measures.read_customers)
        invariants.register(*account_invariants.INVARIANTS, *operation_invariants.INVARIANTS)
        invariants.register(*recovery_invariants.INVARIANTS)
        actions.register_action(kinds.ApprovalKind.CREDENTIAL, credential_requests.ACTION)
        actions.register_action(kinds.ApprovalKind.LINK, link_requests.ACTION)
        epochs.on_restore(hold.hold_everything)
        rules.register_rules(*retention.RULES)
        manifest.also_record(manifest.KEY_IDS, lambda: sorted(credentials.secrets_by_key()))


def audit_labels() -> dict[str, Mapping[Any, Any]]:
    """Return the labels of the codes in our audit events."""
    from customers.models import ChangeSet, Connection, Schedule  # noqa: PLC0415  not before the models are loaded
    from customers.models.operation_states import OperationKind  # noqa: PLC0415  the same

    no_cap = {0: _("No cap")}
    return {
        "monthly_cap": no_cap,
        "cap": no_cap,
        "what": dict([*OperationKind.choices, *ChangeSet.Kind.choices, *Schedule.Kind.choices]),
        "kind": {kind: each.label for kind, each in CAPABILITIES.items()},
        "usage_source": dict(Connection.UsageSource.choices),
        "source": dict(Connection.UsageSource.choices),
        "v2_auth": dict(Connection.V2Auth.choices),
    }
