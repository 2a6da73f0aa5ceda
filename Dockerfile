# syntax=docker/dockerfile:1
FROM python:3.11-slim-bookworm AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/venv
COPY requirements-production.txt /build/
RUN /opt/venv/bin/pip install --no-deps --require-hashes --only-binary :all: -r /build/requirements-production.txt \
    && /opt/venv/bin/pip check

FROM python:3.11-slim-bookworm
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PORTAL_ENV=production
RUN useradd --system --uid 10001 --home-dir /app --shell /usr/sbin/nologin portal
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
USER 10001
# Beat stores its schedule here. Nothing else is written.
ENV WEB_BIND=0.0.0.0:8000 DATA_DIR=/tmp
EXPOSE 8000
HEALTHCHECK --interval=15s --timeout=4s --start-period=20s CMD ["python", "-m", "portal.health_probe", "healthz"]
CMD ["gunicorn", "-c", "python:portal.gunicorn", "portal.wsgi"]
