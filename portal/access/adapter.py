from __future__ import annotations

from allauth.account.adapter import DefaultAccountAdapter
from django.http import HttpRequest

from portal.access.addresses import client_ip


class StaffAdapter(DefaultAccountAdapter):  # type: ignore[misc]
    """What differs from allauth's own ways: nobody signs up, and addresses are believed only from our proxies."""

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        return False

    def get_client_ip(self, request: HttpRequest) -> str:
        return client_ip(request)
