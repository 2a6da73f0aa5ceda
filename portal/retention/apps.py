from django.apps import AppConfig


class RetentionConfig(AppConfig):
    name = "portal.retention"
    label = "retention"

    def ready(self) -> None:
        from portal.retention import rules  # noqa: PLC0415  reads models: not before this point
        from portal.retention.portal_rules import RULES  # noqa: PLC0415  as above

        rules.register_rules(*RULES)
