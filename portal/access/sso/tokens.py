"""Checks of ID tokens (OpenID Connect Core 1.0, section 3.1.3.7). allauth skips most of them in the code flow."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from typing import Any

import jwt
from jwt.types import Options

from portal.access.sso.refusals import SsoRefused
from portal.access.sso.wire import is_text

# Asymmetric alone: with HS256, whoever knows the public key or the client secret could sign.
ALGORITHMS = {"RS256": "RSA", "PS256": "RSA", "ES256": "EC"}
LEEWAY_SECONDS = 60
LONGEST_SUBJECT = 191  # what the table of linked sign-ins holds
_REQUIRED = ("iss", "sub", "aud", "exp", "iat")
_CODES: tuple[tuple[type[jwt.PyJWTError], str], ...] = (
    (jwt.InvalidSignatureError, "signature"),
    (jwt.ExpiredSignatureError, "expired"),
    (jwt.ImmatureSignatureError, "issued_at"),
    (jwt.InvalidIssuedAtError, "issued_at"),
    (jwt.InvalidIssuerError, "issuer"),
    (jwt.InvalidAudienceError, "audience"),
)


def verify_id_token(
    token: object, *, keys: Mapping[str, Any], issuer: str, client_id: str, nonce: str
) -> dict[str, Any]:
    """Return the claims of an ID token that the provider made for this client and this sign-in.

    `keys` is the provider's key set. Raises `SsoRefused` with what is wrong.
    """
    if not isinstance(token, str):
        raise SsoRefused("token", detail="the response holds no ID token")
    algorithm, key = _key_for(token, keys)
    options: Options = {"require": list(_REQUIRED), "verify_aud": True, "verify_iss": True, "verify_iat": True}
    try:
        claims = jwt.decode(
            token, key, [algorithm], options=options, audience=client_id, issuer=issuer, leeway=LEEWAY_SECONDS
        )
    except jwt.MissingRequiredClaimError as error:
        raise SsoRefused("subject" if error.claim == "sub" else "token", detail=f"no {error.claim}") from None
    except jwt.PyJWTError as error:
        code = next((code for kind, code in _CODES if isinstance(error, kind)), "token")
        raise SsoRefused(code, detail=type(error).__name__) from None
    if not is_text(claims):
        raise SsoRefused("token", detail="a claim is no text")
    _check_authorized_party(claims, client_id)
    _check_nonce(claims, nonce)
    _check_subject(claims)
    return claims


def _key_for(token: str, keys: Mapping[str, Any]) -> tuple[str, jwt.PyJWK]:
    """Return the algorithm of the token, which must be one of the allowed, and the key of the set that it names."""
    try:
        header = jwt.get_unverified_header(token)
    except jwt.PyJWTError:
        raise SsoRefused("token", detail="the ID token can't be read") from None
    algorithm, kid = str(header.get("alg")), header.get("kid")
    if algorithm not in ALGORITHMS:
        raise SsoRefused("algorithm", detail="the algorithm is not allowed")
    listed = keys.get("keys")
    fitting = [
        key for key in (listed if isinstance(listed, list) else [])
        if isinstance(key, dict) and key.get("kty") == ALGORITHMS[algorithm]
        and key.get("use", "sig") == "sig" and key.get("alg", algorithm) == algorithm
        and kid in (None, key.get("kid"))
    ]  # fmt: skip
    if len(fitting) != 1:
        raise SsoRefused("key", detail=f"{len(fitting)} keys fit")
    try:
        return algorithm, jwt.PyJWK(fitting[0], algorithm)
    except jwt.PyJWTError:
        raise SsoRefused("key", detail="the key can't be read") from None


def _check_authorized_party(claims: Mapping[str, Any], client_id: str) -> None:
    """A token for several audiences names the one that requested it, and any token that names one names this one."""
    several = isinstance(claims["aud"], list) and len(claims["aud"]) > 1
    if (several or "azp" in claims) and claims.get("azp") != client_id:
        raise SsoRefused("authorized_party")


def _check_nonce(claims: Mapping[str, Any], nonce: str) -> None:
    """The token answers the request of this browser session, and no other."""
    found = claims.get("nonce")
    if not nonce or not isinstance(found, str) or not hmac.compare_digest(found.encode(), nonce.encode()):
        raise SsoRefused("nonce")


def _check_subject(claims: Mapping[str, Any]) -> None:
    subject = claims["sub"]
    if not isinstance(subject, str) or not 0 < len(subject) <= LONGEST_SUBJECT or not subject.isprintable():
        raise SsoRefused("subject")


def check_userinfo(userinfo: Mapping[str, Any], claims: Mapping[str, Any]) -> None:
    """Refuse what the provider says about another subject than the token's (section 5.3.2)."""
    if userinfo.get("sub") != claims["sub"]:
        raise SsoRefused("userinfo_subject")
