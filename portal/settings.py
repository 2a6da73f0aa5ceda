"""Settings from the environment. A wrong or missing value stops the start with a message that names it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.exceptions import ImproperlyConfigured

from portal import environment, logs, queue_settings
from portal.database_settings import refuse_unverified_tls, with_options
from portal.environment import env, listed, whole_number
from portal.oidc_settings import *  # noqa: F403  every name of that part
from portal.redis_tls import redis_tls
from portal.secret_files import with_password
from portal.sign_in_settings import *  # noqa: F403  every name of that part

BASE_DIR = Path(__file__).resolve().parent.parent

# --- Which kind of installation -------------------------------------------------------------------
PORTAL_ENV: str = environment.PORTAL_ENV
PRODUCTION: bool = environment.PRODUCTION
DEMO: bool = environment.DEMO
LOOPBACK_ONLY: bool = environment.LOOPBACK_ONLY
# Days after which the per-account results of a usage sync are deleted, until an admin sets another period (page
# Retention). Its totals and all usage snapshots remain.
SYNC_ITEM_DAYS = whole_number("SYNC_ITEM_DAYS", default=35)
if SYNC_ITEM_DAYS < 32:
    raise ImproperlyConfigured(
        f"SYNC_ITEM_DAYS is {SYNC_ITEM_DAYS}. It must be at least 32, so that days without usage data can be shown "
        "for a whole billing period."
    )
# Days after which an API key counts as old, and as unused. 0: never.
KEY_MAX_AGE_DAYS = whole_number("KEY_MAX_AGE_DAYS", default=365)
KEY_UNUSED_DAYS = whole_number("KEY_UNUSED_DAYS", default=90)
DEBUG = env.bool("DEBUG", default=False)
if DEBUG and PRODUCTION:
    raise ImproperlyConfigured("DEBUG is set while PORTAL_ENV is production. Unset DEBUG.")


LOOPBACK_HOSTS = ["localhost", "127.0.0.1", "[::1]"]


def _required(name: str) -> str:
    value: str = env.str(name, default="")
    if not value:
        raise ImproperlyConfigured(f"{name} is not set and has no default. manage.py make_secrets FOLDER generates it.")
    return value


DATA_DIR = Path(env.str("DATA_DIR", default=str(BASE_DIR / "var")))
try:
    DATA_DIR.mkdir(mode=0o700, parents=True, exist_ok=True)
except OSError as error:
    raise ImproperlyConfigured(
        f'The folder "{DATA_DIR}" can\'t be created: {error.strerror}. Create it, or set DATA_DIR to a folder that '
        "this user may write to."
    ) from None
IS_WORKER = env.bool("PORTAL_WORKER", default=False)  # a worker or the scheduler
SECRET_KEY = _required("SECRET_KEY")
SECRET_KEY_FALLBACKS = listed("SECRET_KEY_FALLBACKS", default=[])
# Backups: public keys of age that they are encrypted for, and how long they are kept (portal/installation).
BACKUP_RECIPIENTS = listed("BACKUP_RECIPIENTS", default=[])
BACKUP_DIR = Path(env.str("BACKUP_DIR", default=str(DATA_DIR / "backups")))
BACKUP_KEEP_DAYS = whole_number("BACKUP_KEEP_DAYS", default=30)
# "id:base64 of 32 bytes", comma separated; the first one encrypts, all decrypt (portal/encryption.py).
FIELD_KEYS = _required("FIELD_KEYS")
AUDIT_KEY = _required("AUDIT_KEY")  # signs; those before it, the newest first, still verify (portal/audit/keys.py)
AUDIT_KEY_FALLBACKS = listed("AUDIT_KEY_FALLBACKS", default=[])
ALLOWED_HOSTS = listed("ALLOWED_HOSTS", default=[] if PRODUCTION else LOOPBACK_HOSTS)
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
CSRF_TRUSTED_ORIGINS = listed("CSRF_TRUSTED_ORIGINS", default=[])
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
    "allauth.socialaccount",
    "allauth.socialaccount.providers.openid_connect",
    "allauth.mfa",
    "allauth.usersessions",
    "django_htmx",
    "portal",
    "portal.access",
    "portal.audit",
    "portal.notices",
    "portal.installation",
    "portal.retention",
    "portal.approvals",
    "portal.privacy",
    "portal.browser_reports",
    "customers",
    "billing",
]
MIDDLEWARE = [
    # Before whatever may answer: the redirect to https, static files, errors.
    "portal.security_headers.security_headers",
    "portal.middleware.request_id",
    "django.middleware.security.SecurityMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    # Load balancers ask by IP address, which is none of ALLOWED_HOSTS: answered before anything looks at the host.
    "portal.health.liveness",
    "portal.middleware.loopback_only",
    "portal.metrics_endpoint.metrics_on_any_host",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "portal.middleware.Compression",
    "portal.middleware.storable_path",
    "portal.access.session_store.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "portal.htmx.htmx",
    "allauth.account.middleware.AccountMiddleware",
    "portal.access.middleware.declared_permissions",
    "portal.approvals.middleware.approvals_first",
    "portal.middleware.persons_zone",
]
ROOT_URLCONF = "portal.urls"
WSGI_APPLICATION = "portal.wsgi.application"
# Messages stay on the server: in a cookie they would be in the browser, and its name would lack the prefix.
MESSAGE_STORAGE = "django.contrib.messages.storage.session.SessionStorage"
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
DATABASE_URL = with_password("DATABASE_URL", env.str("DATABASE_URL", default=""))
if PRODUCTION and not DATABASE_URL:
    raise ImproperlyConfigured("DATABASE_URL is not set. Example: postgres://portal@db/portal?sslmode=verify-full.")
if PRODUCTION:
    refuse_unverified_tls(DATABASE_URL)
# Pages have a short limit, workers a longer one; `migrate` runs without one.
DATABASES: dict[str, Any] = {
    "default": with_options(
        env.db_url_config(DATABASE_URL or f"sqlite:///{DATA_DIR / 'portal.sqlite3'}"),
        statement_seconds=whole_number("PORTAL_STATEMENT_SECONDS", default=120 if IS_WORKER else 15),
    )
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# --- Broker and tasks (reasons: docs/decisions/celery.md) --------------------------------------------
REDIS_URL = with_password("REDIS_URL", env.str("REDIS_URL", default=""))
if PRODUCTION and not REDIS_URL:
    raise ImproperlyConfigured("REDIS_URL is not set. Example: redis://redis:6379/0.")
# CA of the certificate of a Redis at rediss://; the system's authorities if not set.
REDIS_CA_FILE = env.str("REDIS_CA_FILE", default="")
if REDIS_CA_FILE and not Path(REDIS_CA_FILE).is_file():
    raise ImproperlyConfigured(f'REDIS_CA_FILE is "{REDIS_CA_FILE}". The file does not exist.')

# Without Redis, processes count each other here, and each uses its part of a provider's rate limit.
PACE_FOLDER = DATA_DIR / "pace"
REDIS_TLS: dict[str, Any] = redis_tls("REDIS_URL", REDIS_URL, ca_file=REDIS_CA_FILE)
if REDIS_URL:
    CELERY_BROKER_URL = REDIS_URL
    CELERY_BROKER_USE_SSL = REDIS_TLS or None
    CELERY_BROKER_TRANSPORT_OPTIONS: dict[str, Any] = {
        "visibility_timeout": 900,
        "unacked_restore_interval": 15,
        "unacked_restore_throttle": 1,
        "socket_connect_timeout": 3 if IS_WORKER else 1,
        "socket_timeout": 10 if IS_WORKER else 1,
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
CELERY_WORKER_CONSUMER = "portal.consumer:Consumer"
CELERY_TIMEZONE = "UTC"
CELERY_TASK_DEFAULT_QUEUE = queue_settings.DEFAULT
CELERY_TASK_ROUTES = queue_settings.ROUTES
CELERY_BEAT_SCHEDULE_FILENAME = str(DATA_DIR / "beat-schedule")
CELERY_BEAT_SCHEDULE: dict[str, Any] = queue_settings.schedule()

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
    SECURE_REDIRECT_EXEMPT = [r"^healthz$", r"^readyz$", r"^metrics$"]
    SECURE_HSTS_SECONDS = 31_536_000
    SECURE_HSTS_INCLUDE_SUBDOMAINS = True
    # Browsers' preload lists are hard to leave, so entering them is the operator's decision, and Django's check that
    # wants it is silenced.
    SECURE_HSTS_PRELOAD = env.bool("HSTS_PRELOAD", default=False)
    SILENCED_SYSTEM_CHECKS = [] if SECURE_HSTS_PRELOAD else ["security.W021"]
    if env.bool("BEHIND_TLS_PROXY", default=False):
        SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
# Number of trusted proxies in front: the client's address is taken that many steps from the right.
TRUSTED_PROXIES = 0 if LOOPBACK_ONLY else whole_number("TRUSTED_PROXIES", default=0)
DATA_UPLOAD_MAX_MEMORY_SIZE = 2 * 1024 * 1024
DATA_UPLOAD_MAX_NUMBER_FIELDS = 2000
# Base URLs a connection may have. Outside production the sandbox on loopback is allowed as well.
PROVIDER_HOSTS = ["api.sendgrid.com", "api.eu.sendgrid.com", "api.ahasend.com"]

# --- Cache: sign-in throttling and short-lived reads; never a secret ------------------------------------
if REDIS_URL:
    CACHE_URL = env.str("CACHE_URL", default=REDIS_URL)
    _cache_tls = redis_tls("CACHE_URL", CACHE_URL, ca_file=REDIS_CA_FILE)
    CACHES: dict[str, Any] = {
        "default": {
            "BACKEND": "django.core.cache.backends.redis.RedisCache",
            "LOCATION": CACHE_URL,
            "KEY_PREFIX": "portal",
            "OPTIONS": {"socket_connect_timeout": 1, "socket_timeout": 1, **_cache_tls},
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
EMAIL_CONFIG = env.email_url_config(with_password("EMAIL_URL", env.str("EMAIL_URL", default="consolemail://")))
vars().update(EMAIL_CONFIG)
EMAIL_TIMEOUT = 10  # a mail server that hangs must not hold a web worker
DEFAULT_FROM_EMAIL = env.str("DEFAULT_FROM_EMAIL", default="portal@localhost")

# --- Seeing inside (docs/how-to/monitor.md) ------------------------------------------------------------------
# Prometheus sends it as a bearer token. Without one there is no /metrics.
METRICS_TOKEN = env.str("METRICS_TOKEN", default="")
if METRICS_TOKEN and len(METRICS_TOKEN) < 20:
    raise ImproperlyConfigured(
        "METRICS_TOKEN has fewer than 20 characters. Generate one with: "
        "python -c 'import secrets; print(secrets.token_urlsafe(32))'"
    )
# Address and port at which a worker serves the metrics of its processes; the web process has a page.
METRICS_BIND = env.str("METRICS_BIND", default="")
if METRICS_BIND and not METRICS_BIND.rpartition(":")[2].isdigit():
    raise ImproperlyConfigured(f'METRICS_BIND is "{METRICS_BIND}". Example: 127.0.0.1:9100.')
# Statements that take longer are logged, without their values. 0: none.
SLOW_QUERY_MS = whole_number("SLOW_QUERY_MS", default=500)
SENTRY_DSN = env.str("SENTRY_DSN", default="")
if SENTRY_DSN:
    from portal import sentry  # an optional extra: not imported without the setting

    sentry.start(SENTRY_DSN, environment=PORTAL_ENV)

# --- Logs ---------------------------------------------------------------------------------------------------
LOGGING = logs.config(json_lines=PRODUCTION, level=env.str("LOG_LEVEL", default="INFO"))
logs.configure()
