"""Redis and the mail server."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from smtplib import SMTPException
from urllib.parse import urlsplit

import redis
from django.conf import settings
from django.core import mail
from django.utils.translation import gettext as _
from packaging.version import Version

from customers.monitoring.doctor.findings import Finding, error, warning

OLDEST_REDIS = Version("6.2")
FULL = 0.8


def check_redis() -> Iterator[Finding]:
    if not settings.REDIS_URL:
        return
    client = redis.Redis.from_url(
        settings.REDIS_URL, socket_connect_timeout=2, socket_timeout=2, decode_responses=True, **settings.REDIS_TLS
    )
    with client:
        try:
            info = client.info()
        except redis.RedisError as failure:
            yield error(
                "redis.unreachable",
                _("Redis doesn't answer (%(error)s)") % {"error": type(failure).__name__},
                _("Operations start late, and each process uses its own share of the providers' rate limits."),
                _("Start Redis, or correct REDIS_URL and its password."),
            )
            return
    yield from _redis_server(info)
    if _is_remote(urlsplit(settings.REDIS_URL)) and not settings.REDIS_TLS:
        yield error(
            "redis.tls",
            _("Redis is on another network, without TLS"),
            _("Its password, and the IDs in messages, can be read on the way."),
            _("Set REDIS_URL to rediss://, and REDIS_CA_FILE to its CA."),
        )


def _redis_server(info: dict[str, str | int]) -> Iterator[Finding]:
    policy, limit, used = info.get("maxmemory_policy"), int(info.get("maxmemory", 0)), int(info.get("used_memory", 0))
    if limit and policy != "noeviction":
        yield error(
            "redis.eviction",
            _("Redis evicts keys when its memory is full (%(policy)s)") % {"policy": policy},
            _("An evicted queue is lost messages, and evicted counters open the sign-in limits."),
            "redis-cli CONFIG SET maxmemory-policy noeviction",
        )
    if limit and used > FULL * limit:
        yield warning(
            "redis.memory",
            _("Redis uses %(used)d of %(limit)d MB") % {"used": used >> 20, "limit": limit >> 20},
            _("When it is full, no task message is accepted."),
            f"redis-cli CONFIG SET maxmemory {2 * limit}",
        )
    if not int(info.get("aof_enabled", 0)):
        yield warning(
            "redis.persistence",
            _("Redis stores nothing on its disk (appendonly no)"),
            _("Its restart loses all messages, which are sent again within 15 minutes, and the sign-in limits."),
            "redis-cli CONFIG SET appendonly yes",
        )
    if Version(str(info.get("redis_version", "0"))) < OLDEST_REDIS:
        yield warning("redis.version", _("Redis is older than 6.2"), _("It was never tried."), _("Upgrade Redis to 7."))


def _is_remote(url: object) -> bool:
    """Return whether a host is outside this machine and its private network, as far as its name shows. A name without
    a dot is a container of the same network."""
    host: str = getattr(url, "hostname", None) or ""
    try:
        return not ipaddress.ip_address(host).is_private
    except ValueError:
        return "." in host


def check_mail() -> Iterator[Finding]:
    if ".smtp." not in settings.EMAIL_BACKEND:
        return  # Django's check portal.W003 says so
    sender = settings.DEFAULT_FROM_EMAIL.rpartition("@")[2].rstrip(">")
    if "." not in sender:
        yield warning(
            "mail.sender",
            _("Emails are sent from %(sender)s") % {"sender": settings.DEFAULT_FROM_EMAIL},
            _("Most mail servers refuse a sender without a domain."),
            _("Set DEFAULT_FROM_EMAIL to an address of your domain."),
        )
    try:
        with mail.get_connection(timeout=5):
            pass
    except (OSError, SMTPException) as failure:
        yield _undelivered(failure)


def _undelivered(failure: Exception) -> Finding:
    return error(
        "mail.unreachable",
        _("The mail server doesn't accept us (%(error)s)") % {"error": type(failure).__name__},
        _("Invitations, password links, and alerts aren't delivered."),
        _("Correct EMAIL_URL: host, port, TLS, user, and password."),
    )


def send_test_message(to: str) -> Iterator[Finding]:
    """Send an email, the only thing that a check may change. Yield a finding if the mail server refused it."""
    text = _("Postkeeper can send email. This message was requested by manage.py doctor.")
    try:
        mail.send_mail(_("Test message"), text, None, [to])
    except (OSError, SMTPException) as failure:
        yield _undelivered(failure)
