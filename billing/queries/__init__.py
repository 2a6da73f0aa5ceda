"""One read function per page. The home page of the portal asks `home_runs`."""

from billing.queries.runs import home_runs

__all__ = ["home_runs"]
