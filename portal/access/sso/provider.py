"""allauth's client of OpenID Connect, with the checks that it leaves out."""

from __future__ import annotations

import base64
import secrets
import time
from functools import lru_cache
from typing import Any, Never
from urllib.parse import quote

from allauth.socialaccount.adapter import DefaultSocialAccountAdapter
from allauth.socialaccount.models import SocialApp
from allauth.socialaccount.providers.oauth2.client import OAuth2Client
from allauth.socialaccount.providers.openid_connect.provider import OpenIDConnectProvider
from allauth.socialaccount.providers.openid_connect.views import OpenIDConnectOAuth2Adapter
from django.conf import settings
from django.http import HttpRequest
from django.urls import reverse

from portal.access.sso import tokens, wire
from portal.access.sso.identity import SsoIdentity, identity_of_claims, wanted_claims, with_userinfo
from portal.access.sso.refusals import SsoRefused

_WELL_KNOWN = "/.well-known/openid-configuration"
_DISCOVERY_SECONDS = 60


class SsoAdapter(DefaultSocialAccountAdapter):  # type: ignore[misc]  # allauth has no types
    """Adapter of allauth: the provider is that of the settings, never one of a table; nothing is signed up here."""

    def list_apps(self, request: HttpRequest, provider: str = "", client_id: str = "") -> list[SocialApp]:
        return [app_of_settings()] if settings.OIDC_ISSUER else []

    def get_provider(self, request: HttpRequest, provider: str, client_id: str = "") -> SsoProvider:
        return SsoProvider(request, app=self.get_app(request, provider=provider))

    def is_open_for_signup(self, request: HttpRequest, sociallogin: Any) -> bool:
        return False

    def generate_state_param(self, state: dict[str, Any]) -> str:
        return secrets.token_urlsafe(32)

    def get_requests_session(self) -> Never:
        """Refuse: allauth's own requests have no limit of size, and follow redirects."""
        raise NotImplementedError("Use portal.access.sso.wire.")


@lru_cache(maxsize=2)
def discovery(issuer: str, minute: int) -> dict[str, Any]:
    """Return the discovery document, which must be that of the issuer (Discovery, 4.3). Each process reads it once a
    minute; `minute` is which one it is."""
    found = wire.get(issuer.rstrip("/") + _WELL_KNOWN)
    if found.get("issuer") != issuer:
        raise SsoRefused("discovery_issuer")
    for name in ("authorization_endpoint", "token_endpoint", "jwks_uri"):
        wire.checked_url(found.get(name))
    return found


class SsoClient(OAuth2Client):  # type: ignore[misc]  # allauth has no types
    """Exchange of a code for tokens, over `wire`."""

    def get_access_token(
        self, code: str, pkce_code_verifier: str = "", extra_data: dict[str, str] | None = None
    ) -> dict[str, Any]:
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": self.callback_url}
        form |= {"code_verifier": pkce_code_verifier, **(extra_data or {})}
        if not self.basic_auth:
            form |= {"client_id": self.consumer_key, "client_secret": self.consumer_secret}
            return wire.post(self.access_token_url, form)
        pair = f"{quote(self.consumer_key, safe='')}:{quote(self.consumer_secret, safe='')}"  # RFC 6749, section 2.3.1
        basic = base64.b64encode(pair.encode()).decode()
        return wire.post(self.access_token_url, form, headers={"Authorization": f"Basic {basic}"})


class SsoOAuth2Adapter(OpenIDConnectOAuth2Adapter):  # type: ignore[misc]  # allauth has no types
    """The provider's endpoints, and the identity behind a code."""

    client_class = SsoClient

    @property
    def openid_config(self) -> dict[str, Any]:
        """The discovery document, which may be up to a minute old."""
        if not hasattr(self, "_openid_config"):
            self._openid_config = discovery(settings.OIDC_ISSUER, int(time.monotonic() // _DISCOVERY_SECONDS))
        return self._openid_config

    @property
    def basic_auth(self) -> bool:
        """The default of the specification is Basic."""
        methods = self.openid_config.get("token_endpoint_auth_methods_supported")
        return not isinstance(methods, list) or "client_secret_basic" in methods

    def get_callback_url(self, request: HttpRequest, app: SocialApp) -> str:
        return request.build_absolute_uri(reverse("sso-callback"))

    def check_response_issuer(self, found: str | None) -> None:
        """Refuse an authorization response of another provider (RFC 9207)."""
        announced = self.openid_config.get("authorization_response_iss_parameter_supported") is True
        if found != settings.OIDC_ISSUER and (found is not None or announced):
            raise SsoRefused("response_issuer")

    def identify(self, request: HttpRequest, code: str, *, verifier: str, nonce: str) -> SsoIdentity:
        """Exchange the code, and return the identity that its ID token proves."""
        client = self.get_client(request, self.get_provider().app)
        answer = client.get_access_token(code, pkce_code_verifier=verifier)
        claims = tokens.verify_id_token(
            answer.get("id_token"),
            keys=wire.get(self.openid_config["jwks_uri"]),
            issuer=settings.OIDC_ISSUER,
            client_id=settings.OIDC_CLIENT_ID,
            nonce=nonce,
        )
        if not wanted_claims() <= claims.keys() and self.openid_config.get("userinfo_endpoint"):
            bearer = {"Authorization": f"Bearer {answer.get('access_token')}"}
            told = wire.get(self.openid_config["userinfo_endpoint"], headers=bearer)
            tokens.check_userinfo(told, claims)
            claims = with_userinfo(claims, told)
        return identity_of_claims(claims)


class SsoProvider(OpenIDConnectProvider):  # type: ignore[misc]  # allauth has no types
    """allauth's provider with PKCE. `sub_id`, under which sign-ins are linked, is the issuer."""

    pkce_enabled_default = True
    oauth2_adapter_class = SsoOAuth2Adapter

    def authorization_url(self, request: HttpRequest, *, process: str, state: dict[str, Any], **params: str) -> str:
        """Begin a sign-in: store its state in the session and return where the browser goes. `params` are added to the
        request for authorization."""
        nonce = secrets.token_urlsafe(32)
        redirect = self.redirect(request, process, auth_params={"nonce": nonce, **params}, nonce=nonce, **state)
        return str(redirect.url)


def app_of_settings() -> SocialApp:
    return SocialApp(
        provider=OpenIDConnectProvider.id,
        provider_id=settings.OIDC_ISSUER,
        name=settings.OIDC_NAME,
        client_id=settings.OIDC_CLIENT_ID,
        secret=settings.OIDC_CLIENT_SECRET,
        settings={"scope": settings.OIDC_SCOPES},
    )


def provider_of(request: HttpRequest) -> SsoProvider:
    return SsoProvider(request, app=app_of_settings())
