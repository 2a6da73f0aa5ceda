from django.apps import AppConfig

from portal import checks  # noqa: F401  registers itself


class PortalConfig(AppConfig):
    name = "portal"
    default = True
