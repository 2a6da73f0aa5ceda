"""Settings of users, passwords, sessions and sign-in (portal/access). A part of `portal.settings`."""

from __future__ import annotations

from django.core.exceptions import ImproperlyConfigured

from portal.environment import LOOPBACK_ONLY, PRODUCTION, listed, whole_number

# --- Users, passwords and sessions ---------------------------------------------------------------------
AUTH_USER_MODEL = "access.User"
AUTHENTICATION_BACKENDS = ["portal.access.backends.StaffBackend"]
PASSWORD_HASHERS = [
    "django.contrib.auth.hashers.Argon2PasswordHasher",
    "django.contrib.auth.hashers.PBKDF2PasswordHasher",
]
AUTH_PASSWORD_VALIDATORS = [
    {
        "NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator",
        "OPTIONS": {"user_attributes": ("name", "email")},
    },
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "portal.access.breached.BreachedPasswordValidator"},
    {"NAME": "portal.access.passwords.GuessablePasswordValidator"},
]
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "home"
LOGOUT_REDIRECT_URL = "account_login"
SESSION_COOKIE_AGE = whole_number("SESSION_IDLE_SECONDS", default=8 * 3600)
SESSION_ABSOLUTE_SECONDS = whole_number("SESSION_ABSOLUTE_SECONDS", default=24 * 3600)
SESSION_ENGINE = "portal.access.session_store"
SESSION_EXPIRE_AT_BROWSER_CLOSE = True
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
CSRF_COOKIE_HTTPONLY = True
CSRF_COOKIE_SAMESITE = "Lax"
CSRF_FAILURE_VIEW = "portal.error_pages.csrf_failure"
# A browser that somebody signed in with before (portal/access/devices.py).
DEVICE_COOKIE_NAME = "__Host-device" if PRODUCTION and not LOOPBACK_ONLY else "device"

# --- Second factor (portal/access/second_factor.py) ------------------------------------------------------
# Roles whose members work only with a second factor: all, unless the installation leaves some out.
_EVERY_ROLE = ["admin", "customer_success", "finance", "auditor", "custom"]
SECOND_FACTOR_ROLES = listed("SECOND_FACTOR_ROLES", default=_EVERY_ROLE)
if unknown := set(SECOND_FACTOR_ROLES) - set(_EVERY_ROLE):
    raise ImproperlyConfigured(
        f'SECOND_FACTOR_ROLES contains "{min(unknown)}". Roles are admin, customer_success, finance, auditor, and '
        "custom."
    )
if PRODUCTION and "admin" not in SECOND_FACTOR_ROLES:
    raise ImproperlyConfigured("SECOND_FACTOR_ROLES doesn't contain admin. Admins always need a second factor.")
MFA_ADAPTER = "portal.access.adapter.SecondFactorAdapter"
MFA_SUPPORTED_TYPES = ["totp", "webauthn", "recovery_codes"]
MFA_PASSKEY_LOGIN_ENABLED = True
MFA_TOTP_TOLERANCE = 1  # steps of 30 seconds before and after: clocks differ, and people type slowly
MFA_WEBAUTHN_USER_VERIFICATION = "required"
MFA_RECOVERY_CODES_SHOW_ONCE = True
MFA_RECOVERY_CODE_DIGITS = 10
# The portal asks for a confirmation itself (portal/access/reauth.py), and limits attempts itself (throttling.py).
MFA_REAUTHENTICATION_REQUIRED = False
MFA_RATE_LIMITS = False
MFA_ALLOW_UNVERIFIED_EMAIL = True  # admins invite people by their email

# --- What one person may do in a while (portal/access/throttling.py) ---------------------------------------
# Files, which tell much; secrets and ways into accounts; what calls a provider at once; every other change. Far above
# what work needs, and for production: elsewhere programs try what a person would.
PERSON_LIMITS = (
    {"file": "60/10m/key", "secret": "120/10m/key", "provider": "300/10m/key", "change": "900/10m/key"}
    if PRODUCTION
    else {}
)

# --- allauth: users are invited, never sign up (portal/access) -------------------------------------------
ACCOUNT_ADAPTER = "portal.access.adapter.StaffAdapter"
ACCOUNT_USER_MODEL_USERNAME_FIELD = None
ACCOUNT_LOGIN_METHODS = {"email"}
ACCOUNT_SIGNUP_FIELDS = ["email*", "password1*", "password2*"]
ACCOUNT_EMAIL_VERIFICATION = "none"
ACCOUNT_PREVENT_ENUMERATION = True
ACCOUNT_SESSION_REMEMBER = False
ACCOUNT_RATE_LIMITS = False
