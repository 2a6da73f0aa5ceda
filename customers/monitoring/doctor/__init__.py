"""Checks of the whole deployment: `manage.py doctor`, and those without a network call on the page "System status"."""
