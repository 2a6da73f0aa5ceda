from django.apps import AppConfig

from portal import (
    celery,  # noqa: F401  every process that enqueues must know the broker, the web and the commands too
    checks,  # noqa: F401  registers itself
    connection_limits,  # noqa: F401  so does this
    slow_queries,  # noqa: F401  and this
)


class PortalConfig(AppConfig):
    name = "portal"
    default = True
