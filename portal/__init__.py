"""Project package: wiring on top (settings, urls, celery, dashboard), infrastructure below."""
