from django.apps import AppConfig
from django.core import checks


class AccessConfig(AppConfig):
    name = "portal.access"
    label = "access"

    def ready(self) -> None:
        from allauth.account.signals import user_logged_in  # noqa: PLC0415  as below
        from allauth.usersessions.signals import on_user_logged_in  # noqa: PLC0415  as below

        from portal.access import audit_words  # noqa: PLC0415  as below
        from portal.access.checks import undeclared  # noqa: PLC0415  reads models: not before this point

        # It reads the sessions in a way that ends those under an earlier SECRET_KEY; `sessions.begin` adds the row.
        user_logged_in.disconnect(on_user_logged_in)
        checks.register(undeclared, checks.Tags.security)
        audit_words.register_access_words()
