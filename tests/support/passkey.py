"""A passkey in software: it answers the portal's requests as a device with a verified owner does."""

from __future__ import annotations

import hashlib
import json
import secrets
from dataclasses import dataclass, field
from typing import Any

from allauth.account.internal.userkit import user_id_to_str
from allauth.mfa.models import Authenticator
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from django.test import Client
from fido2.cose import ES256
from fido2.utils import websafe_encode
from fido2.webauthn import AttestationObject, AttestedCredentialData, AuthenticatorData

from portal.access.models import User

HOST = "testserver"
_FLAG = AuthenticatorData.FLAG


@dataclass
class Passkey:
    """A passkey of one person, who added it earlier."""

    person: User
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    id: bytes = field(default_factory=lambda: secrets.token_bytes(16))

    def __post_init__(self) -> None:
        public = ES256.from_cryptography_key(self.key.public_key())  # type: ignore[no-untyped-call]  # the library has no types
        held = AttestedCredentialData.create(bytes(16), self.id, public)
        data = AuthenticatorData.create(_rp(), _FLAG.UP | _FLAG.UV | _FLAG.AT, 0, held)
        made = {
            "clientDataJSON": websafe_encode(_client_data("webauthn.create", "AAAA")),
            "attestationObject": websafe_encode(bytes(AttestationObject.create("none", data, {}))),
        }
        credential = self._credential(made) | {"clientExtensionResults": {"credProps": {"rk": True}}}
        Authenticator.objects.create(
            user=self.person, type=Authenticator.Type.WEBAUTHN, data={"name": "Key", "credential": credential}
        )

    def answer(self, options: dict[str, Any]) -> str:
        """Return the answer to what the browser asks for, signed."""
        asked = _client_data("webauthn.get", options["publicKey"]["challenge"])
        data = AuthenticatorData.create(_rp(), _FLAG.UP | _FLAG.UV, 1)
        signed = self.key.sign(bytes(data) + hashlib.sha256(asked).digest(), ec.ECDSA(SHA256()))
        answered = {
            "clientDataJSON": websafe_encode(asked),
            "authenticatorData": websafe_encode(bytes(data)),
            "signature": websafe_encode(signed),
            "userHandle": websafe_encode(user_id_to_str(self.person).encode()),
        }
        return json.dumps(self._credential(answered))

    def sign_in(self, client: Client) -> Any:
        """Sign in with the passkey alone, and return the portal's answer."""
        options = client.get("/sign-in/passkey/", headers={"X-Requested-With": "XMLHttpRequest"}).json()[
            "request_options"
        ]
        return client.post("/sign-in/passkey/", {"credential": self.answer(options)})

    def _credential(self, response: dict[str, str]) -> dict[str, Any]:
        name = websafe_encode(self.id)
        return {"type": "public-key", "id": name, "rawId": name, "response": response}


def _rp() -> bytes:
    return hashlib.sha256(HOST.encode()).digest()


def _client_data(kind: str, challenge: str) -> bytes:
    return json.dumps({"type": kind, "challenge": challenge, "origin": f"https://{HOST}"}).encode()
