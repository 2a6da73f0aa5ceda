from django.apps import AppConfig


class NoticesConfig(AppConfig):
    name = "portal.notices"
    label = "notices"

    def ready(self) -> None:
        from portal.audit.recording import alerting  # noqa: PLC0415  reads models: not before this point
        from portal.notices.raising import of_event  # noqa: PLC0415  as above

        alerting.connect(of_event)
