from django.apps import AppConfig


class BrowserReportsConfig(AppConfig):
    name = "portal.browser_reports"
    label = "browser_reports"
