from django.apps import AppConfig
from django.core import checks


class AccessConfig(AppConfig):
    name = "portal.access"
    label = "access"

    def ready(self) -> None:
        from portal.access.checks import every_route_is_declared  # noqa: PLC0415  reads models: not before this point

        checks.register(every_route_is_declared, checks.Tags.security)
