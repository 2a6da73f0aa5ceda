from django.apps import AppConfig
from django.db.models.signals import post_migrate, pre_migrate


class CustomersConfig(AppConfig):
    name = "customers"

    def ready(self) -> None:
        """Register the invariants, which need the models to be loaded."""
        from customers.models import triggers  # noqa: PLC0415  they read models: not before this point
        from customers.monitoring import account_invariants, invariants, operation_invariants  # noqa: PLC0415  they read models: not before this point

        pre_migrate.connect(triggers.before_migrate, sender=self)
        post_migrate.connect(triggers.after_migrate, sender=self)
        invariants.register(*account_invariants.INVARIANTS, *operation_invariants.INVARIANTS)
