from django.apps import AppConfig


class BrowserReportsConfig(AppConfig):
    name = "portal.browser_reports"
    label = "browser_reports"

    def ready(self) -> None:
        """Register the retention rule."""
        from portal.browser_reports import retention  # noqa: PLC0415  reads models: not before this point
        from portal.retention import rules  # noqa: PLC0415  the same

        rules.register_rules(retention.RULE)
