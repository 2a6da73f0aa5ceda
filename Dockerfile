# syntax=docker/dockerfile:1
FROM python:3.11.15-slim-trixie AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/venv
COPY requirements-production.txt /build/
RUN /opt/venv/bin/pip install --no-deps --require-hashes --only-binary :all: -r /build/requirements-production.txt \
    && /opt/venv/bin/pip check \
    && /opt/venv/bin/pip uninstall --yes pip setuptools

FROM python:3.11.15-slim-trixie
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PORTAL_ENV=production
# pg_dump of the server's major version, for backups. Debian trixie has that of docker-compose.yml.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends postgresql-client-17 \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --system --gid 10001 portal \
    && useradd --system --uid 10001 --gid 10001 --home-dir /app --shell /usr/sbin/nologin portal \
    && install --directory --owner portal --group portal /backups
COPY --from=build /opt/venv /opt/venv
WORKDIR /app
COPY manage.py ./
COPY portal portal
COPY customers customers
COPY billing billing
COPY templates templates
COPY static static
COPY docs/help docs/help
# Placeholder values so that the settings load during collectstatic. They are not part of the image.
RUN SECRET_KEY=build FIELD_KEYS=build AUDIT_KEY=build ALLOWED_HOSTS=build REDIS_URL=redis://build \
    DATABASE_URL=sqlite:////tmp/build.sqlite3 python manage.py collectstatic --noinput --skip-checks
USER 10001:10001
# Beat stores its schedule here, and each process its liveness report. Nothing else is written.
ENV WEB_BIND=0.0.0.0:8000 DATA_DIR=/tmp
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s CMD ["python", "-m", "portal.health_probe", "healthz"]
CMD ["gunicorn", "-c", "python:portal.gunicorn", "portal.wsgi"]
