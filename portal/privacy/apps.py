from django.apps import AppConfig


class PrivacyConfig(AppConfig):
    name = "portal.privacy"
    label = "privacy"

    def ready(self) -> None:
        """Load what every app declares about personal data."""
        from portal.personal_data import load_declarations  # noqa: PLC0415  declarations read models

        load_declarations()
