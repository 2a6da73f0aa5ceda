from django.apps import AppConfig


class CustomersConfig(AppConfig):
    name = "customers"

    def ready(self) -> None:
        """The models exist by now, and the invariants ask them."""
        from customers import invariants, invariants_accounts, invariants_operations  # noqa: PLC0415  they read models: not before this point

        invariants.register(*invariants_accounts.INVARIANTS, *invariants_operations.INVARIANTS)
