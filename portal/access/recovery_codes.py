"""Recovery codes: ten digits each, shown once, stored as password hashes. Each replaces a second factor once."""

from __future__ import annotations

import secrets

from allauth.core.internal.cryptokit import normalize_user_code
from allauth.mfa import app_settings
from allauth.mfa.models import Authenticator
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from django.contrib.auth.hashers import check_password, make_password

from portal.access.models import User

_HASHES = "hashes"


def make_codes(user: User) -> list[str]:
    """Store the hashes of new codes as the user's only ones, and return the codes, which nothing else knows."""
    digits = app_settings.RECOVERY_CODE_DIGITS
    codes = [f"{secrets.randbelow(10**digits):0{digits}}" for _ in range(app_settings.RECOVERY_CODE_COUNT)]
    kind = Authenticator.Type.RECOVERY_CODES
    Authenticator.objects.update_or_create(user=user, type=kind, defaults={"data": _hashed(codes)})
    return codes


def use_code(row: Authenticator, code: str) -> bool:
    """Return whether this is one of the unused codes, and use it up. The row is locked by the caller."""
    code = normalize_user_code(code)
    if len(code) != app_settings.RECOVERY_CODE_DIGITS:
        return False  # a hash for each code that is left takes half a second
    if _HASHES not in row.data:  # allauth's own form: codes that are derived from a seed
        row.data = _hashed(RecoveryCodes(row).get_unused_codes())
        row.save(update_fields=["data"])
    hashes = row.data[_HASHES]
    found = next((each for each in hashes if check_password(code, each)), None)
    if found is None:
        return False
    row.data = {_HASHES: [each for each in hashes if each != found]}
    row.save(update_fields=["data"])
    return True


def codes_left(row: Authenticator) -> int:
    return len(row.data[_HASHES] if _HASHES in row.data else RecoveryCodes(row).get_unused_codes())


def _hashed(codes: list[str]) -> dict[str, list[str]]:
    return {_HASHES: [make_password(code) for code in codes]}
