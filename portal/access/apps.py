from django.apps import AppConfig
from django.core import checks


class AccessConfig(AppConfig):
    name = "portal.access"
    label = "access"

    def ready(self) -> None:
        from portal.access.checks import undeclared  # noqa: PLC0415  reads models: not before this point

        checks.register(undeclared, checks.Tags.security)
