"""Settings from the environment. A wrong or missing value stops the start with a message that names it."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import environ
from django.core.exceptions import ImproperlyConfigured

from portal import env_file, logs, queue_settings

BASE_DIR = Path(__file__).resolve().parent.parent
env_file.load()
env = environ.Env()


def _whole(name: str, *, default: int) -> int:
    """Return the variable as a whole number, 0 or more."""
    text: str = env.str(name, default=str(default)).strip()
    if not (text.isascii() and text.isdigit()):
        raise ImproperlyConfigured(f'{name} is "{text}". It must be a whole number, 0 or more.')
    return int(text)


def _list(name: str, *, default: list[str]) -> list[str]:
    """Return the comma-separated values without the blanks around them."""
    values: list[str] = env.list(name, default=default)
    return [stripped for value in values if (stripped := value.strip())]


# --- Which kind of installation -------------------------------------------------------------------
PORTAL_ENV = env.str("PORTAL_ENV", default="production")
if PORTAL_ENV not in {"production", "development"}:
    raise ImproperlyConfigured(f'PORTAL_ENV is "{PORTAL_ENV}". It must be "production" or "development".')
PRODUCTION = PORTAL_ENV == "production"
DEMO = env.bool("PORTAL_DEMO", default=False)
# Days after which the per-account results of a usage sync are deleted. Its totals and all usage snapshots remain.
SYNC_ITEM_DAYS = _whole("SYNC_ITEM_DAYS", default=35)
if SYNC_ITEM_DAYS < 32:
    raise ImproperlyConfigured(
        f"SYNC_ITEM_DAYS is {SYNC_ITEM_DAYS}. It must be at least 32, so that days without usage data can be shown "
        "for a whole billing period."
    )
# Deletes, and bulk changes of more than ten accounts, need approval from another admin if there is one.
SECOND_PERSON = env.bool("SECOND_PERSON", default=True)
if DEMO and PRODUCTION:
    raise ImproperlyConfigured(
        "PORTAL_DEMO is set while PORTAL_ENV is production. The demo prints its passwords. Unset PORTAL_DEMO "
        "or set PORTAL_ENV=development."
    )
DEBUG = env.bool("DEBUG", default=False)
if DEBUG and PRODUCTION:
    raise ImproperlyConfigured("DEBUG is set while PORTAL_ENV is production. Unset DEBUG.")


LOOPBACK_HOSTS = ["localhost", "127.0.0.1", "[::1]"]


def _required(name: str) -> str:
    value: str = env.str(name, default="")
    if not value:
        raise ImproperlyConfigured(f"{name} is not set and has no default. See .env.example for how to generate one.")
    return value


DATA_DIR = Path(env.str("DATA_DIR", default=str(BASE_DIR / "var")))
try:
    DATA_DIR.mkdir(mode=0o700, parents=True, exist_ok=True)
except OSError as error:
    raise ImproperlyConfigured(
        f'The folder "{DATA_DIR}" can\'t be created: {error.strerror}. Create it, or set DATA_DIR to a folder that '
        "this user may write to."
    ) from None
SECRET_KEY = _required("SECRET_KEY")
SECRET_KEY_FALLBACKS = _list("SECRET_KEY_FALLBACKS", default=[])
# "id:base64 of 32 bytes", comma separated; the first one encrypts, all decrypt (portal/encryption.py).
FIELD_KEYS = _required("FIELD_KEYS")
AUDIT_KEY = _required("AUDIT_KEY")
ALLOWED_HOSTS = _list("ALLOWED_HOSTS", default=[] if PRODUCTION else LOOPBACK_HOSTS)
if PRODUCTION and not ALLOWED_HOSTS:
    raise ImproperlyConfigured(
        "ALLOWED_HOSTS is not set. Set it to the hostname of the portal, such as portal.example.com."
    )
if "*" in ALLOWED_HOSTS and PRODUCTION:
    raise ImproperlyConfigured('ALLOWED_HOSTS contains "*". List the exact hostnames.')
# Base URL of links in emails that are sent outside a request.
WEB_BIND = env.str("WEB_BIND", default="127.0.0.1:8000")
PORTAL_URL = env.str(
    "PORTAL_URL", default=f"https://{ALLOWED_HOSTS[0]}" if PRODUCTION else f"http://{WEB_BIND}"
).rstrip("/")
CSRF_TRUSTED_ORIGINS = _list("CSRF_TRUSTED_ORIGINS", default=[])
# To look at the portal on its own machine, or through `ssh -L`, before there is TLS: no redirect to https and cookies
# without "Secure". Hosts, address and proxy settings are replaced by those of loopback, and
# portal.middleware.loopback_only refuses requests from elsewhere.
LOOPBACK_ONLY = env.bool("LOOPBACK_ONLY", default=False)
if LOOPBACK_ONLY:
    if WEB_BIND.rpartition(":")[0] not in LOOPBACK_HOSTS:
        raise ImproperlyConfigured(
            f'LOOPBACK_ONLY is set while WEB_BIND is "{WEB_BIND}". Passwords would be sent without TLS. Set '
            "WEB_BIND=127.0.0.1:8000, or unset LOOPBACK_ONLY."
        )
    ALLOWED_HOSTS, CSRF_TRUSTED_ORIGINS = LOOPBACK_HOSTS, []
    PORTAL_URL = f"http://{WEB_BIND}"

# --- Applications -----------------------------------------------------------------------------------
INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "allauth",
    "allauth.account",
    "django_htmx",
    "portal",
    "portal.access",
    "portal.audit",
    "portal.notices",
    "customers",
    "billing",
]
MIDDLEWARE = [
    "portal.middleware.request_id",
    # WhiteNoise serves static files: middleware that sets headers comes before it.
    "django.middleware.security.SecurityMiddleware",
    "portal.middleware.security_headers",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    # Load balancers ask by IP address, which is none of ALLOWED_HOSTS: answered before anything looks at the host.
    "portal.health.liveness",
    "portal.middleware.loopback_only",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "portal.middleware.Compression",
    "portal.middleware.storable_path",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "portal.htmx.htmx",
    "allauth.account.middleware.AccountMiddleware",
    "portal.access.middleware.declared_permissions",
    "portal.middleware.persons_zone",
]
ROOT_URLCONF = "portal.urls"
WSGI_APPLICATION = "portal.wsgi.application"
TEMPLATES: list[dict[str, Any]] = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "OPTIONS": {
            "loaders": [
                (
                    "django.template.loaders.cached.Loader",
                    ["portal.template_loader.Loader", "django.template.loaders.app_directories.Loader"],
                )
            ],
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "portal.middleware.page_context",
            ],
        },
    }
]

# --- Database: PostgreSQL in production, SQLite on one machine ---------------------------------------
DATABASES: dict[str, Any] = {"default": env.db_url("DATABASE_URL", default=f"sqlite:///{DATA_DIR / 'portal.sqlite3'}")}
if PRODUCTION and not env.str("DATABASE_URL", default=""):
    raise ImproperlyConfigured("DATABASE_URL is not set. Example: postgres://portal:...@db/portal.")
_database = DATABASES["default"]
if _database["ENGINE"].endswith("sqlite3"):
    # WAL lets readers continue while one writes; IMMEDIATE takes the write lock at BEGIN, so a read-then-write cannot
    # fail half way; FULL because the intent of a paid create must survive a power cut.
    _database.setdefault("OPTIONS", {}).update(
        transaction_mode="IMMEDIATE",
        timeout=20,
        init_command="PRAGMA journal_mode=WAL;PRAGMA synchronous=FULL;PRAGMA foreign_keys=ON;",
    )
else:
    # Pages have a short limit, workers a longer one; `migrate` runs with PORTAL_STATEMENT_SECONDS=0 (no limit).
    _seconds = _whole("PORTAL_STATEMENT_SECONDS", default=120 if env.bool("PORTAL_WORKER", default=False) else 15)
    _limits = {"statement_timeout": _seconds, "lock_timeout": 3, "idle_in_transaction_session_timeout": 30}
    _options = "".join(f" -c {k}={v * 1000}" for k, v in _limits.items())
    _database.setdefault("OPTIONS", {})["options"] = f"-c jit=off{_options}"  # compiling takes longer than most run
    # A worker's main process writes the heartbeat; an unreachable server must not block it for minutes.
    _database["OPTIONS"].setdefault("connect_timeout", 5)
    _database |= {"CONN_MAX_AGE": 60, "CONN_HEALTH_CHECKS": True}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# --- Broker and tasks (reasons: docs/decisions/celery.md) --------------------------------------------
REDIS_URL = env.str("REDIS_URL", default="")
if PRODUCTION and not REDIS_URL:
    raise ImproperlyConfigured("REDIS_URL is not set. Example: redis://:...@redis:6379/0.")
# CA of the certificate of a Redis at rediss://; the system's authorities if not set.
REDIS_CA_FILE = env.str("REDIS_CA_FILE", default="")
if REDIS_CA_FILE and not Path(REDIS_CA_FILE).is_file():
    raise ImproperlyConfigured(f'REDIS_CA_FILE is "{REDIS_CA_FILE}". The file does not exist.')


def redis_tls(name: str, url: str) -> dict[str, Any]:
    """Return the TLS options of a Redis URL. kombu would accept any certificate of a rediss:// server, and an option in
    the URL would override these."""
    parts = urlsplit(url)
    if parts.scheme not in ("redis", "rediss"):
        raise ImproperlyConfigured(f"{name} must begin with redis:// or rediss://.")
    if loose := next((option for option, _ in parse_qsl(parts.query) if option.startswith("ssl_")), ""):
        raise ImproperlyConfigured(f"{name} contains {loose}. Certificates are always verified; see REDIS_CA_FILE.")
    if parts.scheme == "redis":
        return {}
    return {"ssl_cert_reqs": ssl.CERT_REQUIRED, "ssl_check_hostname": True, "ssl_ca_certs": REDIS_CA_FILE or None}


_WORKER = env.bool("PORTAL_WORKER", default=False)
# Without Redis, processes count each other here, and each uses its part of a provider's rate limit.
PACE_FOLDER = DATA_DIR / "pace"
if REDIS_URL:
    CELERY_BROKER_URL = REDIS_URL
    REDIS_TLS: dict[str, Any] = redis_tls("REDIS_URL", REDIS_URL)
    CELERY_BROKER_USE_SSL = REDIS_TLS or None
    CELERY_BROKER_TRANSPORT_OPTIONS: dict[str, Any] = {
        "visibility_timeout": 900,
        "unacked_restore_interval": 15,
        "unacked_restore_throttle": 1,
        "socket_connect_timeout": 3 if _WORKER else 1,
        "socket_timeout": 10 if _WORKER else 1,
        "socket_keepalive": True,
        "health_check_interval": 10,
    }
else:
    CELERY_BROKER_URL = "folder://localhost//"  # portal.brokers.folder; host unused, but kombu warns without one
    _queue = DATA_DIR / "broker"
    CELERY_BROKER_TRANSPORT_OPTIONS = {
        "data_folder_in": str(_queue / "queue"),
        "data_folder_out": str(_queue / "queue"),
        "control_folder": str(_queue / "control"),
        "processed_folder": str(_queue / "processed"),
        "store_processed": False,
        "polling_interval": 0.1,
    }
    for _folder in ("queue", "control", "processed"):
        (_queue / _folder).mkdir(parents=True, exist_ok=True)
CELERY_TASK_IGNORE_RESULT = True
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = True
CELERY_TASK_ACKS_ON_FAILURE_OR_TIMEOUT = True
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_TASK_TIME_LIMIT = 80
CELERY_TASK_SOFT_TIME_LIMIT = 70
CELERY_TASK_PUBLISH_RETRY_POLICY = {"max_retries": 0, "interval_start": 0, "interval_step": 0, "interval_max": 0}
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_CONNECTION_MAX_RETRIES = None
CELERY_WORKER_CANCEL_LONG_RUNNING_TASKS_ON_CONNECTION_LOSS = False
CELERY_WORKER_SOFT_SHUTDOWN_TIMEOUT = 60
CELERY_WORKER_MAX_TASKS_PER_CHILD = 500
CELERY_WORKER_MAX_MEMORY_PER_CHILD = 300_000
CELERY_WORKER_REDIRECT_STDOUTS = False
CELERY_TIMEZONE = "UTC"
CELERY_TASK_DEFAULT_QUEUE = queue_settings.DEFAULT
CELERY_TASK_ROUTES = queue_settings.ROUTES
CELERY_BEAT_SCHEDULE_FILENAME = str(DATA_DIR / "beat-schedule")
CELERY_BEAT_SCHEDULE: dict[str, Any] = queue_settings.schedule()

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
    {"NAME": "portal.access.passwords.GuessablePasswordValidator"},
]
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "home"
LOGOUT_REDIRECT_URL = "account_login"
SESSION_COOKIE_AGE = _whole("SESSION_IDLE_SECONDS", default=8 * 3600)
SESSION_ABSOLUTE_SECONDS = _whole("SESSION_ABSOLUTE_SECONDS", default=24 * 3600)
SESSION_EXPIRE_AT_BROWSER_CLOSE = True
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
CSRF_COOKIE_HTTPONLY = True
CSRF_COOKIE_SAMESITE = "Lax"
CSRF_FAILURE_VIEW = "portal.error_pages.csrf_failure"

# --- Security -------------------------------------------------------------------------------------------
X_FRAME_OPTIONS = "DENY"
SECURE_REFERRER_POLICY = "same-origin"
SECURE_CROSS_ORIGIN_OPENER_POLICY = "same-origin"
SECURE_CONTENT_TYPE_NOSNIFF = True
if PRODUCTION and not LOOPBACK_ONLY:
    SESSION_COOKIE_NAME = "__Host-sid"
    CSRF_COOKIE_NAME = "__Host-csrf"
    SESSION_COOKIE_SECURE = True
    CSRF_COOKIE_SECURE = True
    SECURE_SSL_REDIRECT = env.bool("SECURE_SSL_REDIRECT", default=True)
    SECURE_REDIRECT_EXEMPT = [r"^healthz$", r"^readyz$"]
    SECURE_HSTS_SECONDS = 31_536_000
    SECURE_HSTS_INCLUDE_SUBDOMAINS = True
    # Browsers' preload lists are hard to leave, so entering them is the operator's decision, and Django's check that
    # wants it is silenced.
    SECURE_HSTS_PRELOAD = env.bool("HSTS_PRELOAD", default=False)
    SILENCED_SYSTEM_CHECKS = [] if SECURE_HSTS_PRELOAD else ["security.W021"]
    if env.bool("BEHIND_TLS_PROXY", default=False):
        SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
# Number of trusted proxies in front: the client's address is taken that many steps from the right.
TRUSTED_PROXIES = 0 if LOOPBACK_ONLY else _whole("TRUSTED_PROXIES", default=0)
DATA_UPLOAD_MAX_MEMORY_SIZE = 2 * 1024 * 1024
DATA_UPLOAD_MAX_NUMBER_FIELDS = 2000
# Base URLs a connection may have. Outside production the sandbox on loopback is allowed as well.
PROVIDER_HOSTS = ["api.sendgrid.com", "api.eu.sendgrid.com", "api.ahasend.com"]

# --- Cache: sign-in throttling and short-lived reads; never a secret ------------------------------------
if REDIS_URL:
    CACHE_URL = env.str("CACHE_URL", default=REDIS_URL)
    CACHES: dict[str, Any] = {
        "default": {
            "BACKEND": "django.core.cache.backends.redis.RedisCache",
            "LOCATION": CACHE_URL,
            "KEY_PREFIX": "portal",
            "OPTIONS": {"socket_connect_timeout": 1, "socket_timeout": 1, **redis_tls("CACHE_URL", CACHE_URL)},
        }
    }
else:
    CACHES = {
        "default": {
            "BACKEND": "django.core.cache.backends.db.DatabaseCache",
            "LOCATION": "portal_cache",
            # Sign-in counters are stored here: with the default of 300 entries a spray of addresses would evict them.
            "OPTIONS": {"MAX_ENTRIES": 100_000},
        }
    }

# --- Language, time, files --------------------------------------------------------------------------------
LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_THOUSAND_SEPARATOR = True
LOCALE_PATHS = [BASE_DIR / "locale"]
STATIC_URL = "static/"
# Filled by collectstatic in production; elsewhere files are served from their source and it stays empty.
STATIC_ROOT = Path(env.str("STATIC_ROOT", default=str((BASE_DIR if PRODUCTION else DATA_DIR) / "staticfiles")))
if not PRODUCTION:
    STATIC_ROOT.mkdir(parents=True, exist_ok=True)
STATICFILES_DIRS = [BASE_DIR / "static"]
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": (
            "whitenoise.storage.CompressedManifestStaticFilesStorage"
            if PRODUCTION
            else "django.contrib.staticfiles.storage.StaticFilesStorage"
        )
    },
}
WHITENOISE_USE_FINDERS = not PRODUCTION
WHITENOISE_AUTOREFRESH = False
WHITENOISE_ALLOW_ALL_ORIGINS = False  # no static file is used by another site's scripts
EMAIL_CONFIG = env.email_url("EMAIL_URL", default="consolemail://")
vars().update(EMAIL_CONFIG)
EMAIL_TIMEOUT = 10  # a mail server that hangs must not hold a web worker
DEFAULT_FROM_EMAIL = env.str("DEFAULT_FROM_EMAIL", default="portal@localhost")

# --- Logs ---------------------------------------------------------------------------------------------------
LOGGING = logs.config(json_lines=PRODUCTION, level=env.str("LOG_LEVEL", default="INFO"))
logs.configure()

# --- allauth: sign-in and password reset only; users are invited, never sign up (portal/access) ----------
ACCOUNT_ADAPTER = "portal.access.adapter.StaffAdapter"
ACCOUNT_USER_MODEL_USERNAME_FIELD = None
ACCOUNT_LOGIN_METHODS = {"email"}
ACCOUNT_SIGNUP_FIELDS = ["email*", "password1*", "password2*"]
ACCOUNT_EMAIL_VERIFICATION = "none"
ACCOUNT_PREVENT_ENUMERATION = True
ACCOUNT_SESSION_REMEMBER = False
ACCOUNT_RATE_LIMITS = {
    "login": "60/m/ip",
    "login_failed": "30/15m/ip,10/15m/key",
    "reset_password": "10/15m/ip,3/15m/key",
    "reset_password_from_key": "10/15m/ip",
}
