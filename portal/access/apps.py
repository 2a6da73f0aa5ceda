from django.apps import AppConfig
from django.core import checks


class AccessConfig(AppConfig):
    name = "portal.access"
    label = "access"

    def ready(self) -> None:
        from allauth.account.signals import user_logged_in  # noqa: PLC0415  as below
        from allauth.usersessions.signals import on_user_logged_in  # noqa: PLC0415  as below

        from portal.access.checks import undeclared  # noqa: PLC0415  reads models: not before this point
        from portal.access.permission_labels import LABELS  # noqa: PLC0415  as above
        from portal.audit.differences import add_labels  # noqa: PLC0415  as above

        # It reads the sessions in a way that ends those under an earlier SECRET_KEY; `sessions.begin` adds the row.
        user_logged_in.disconnect(on_user_logged_in)
        checks.register(undeclared, checks.Tags.security)
        words = {code: label.name for code, label in LABELS.items()}
        add_labels({"permissions_added": words, "permissions_removed": words})
