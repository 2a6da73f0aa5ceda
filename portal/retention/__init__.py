"""Retention: how long rows are kept, and the nightly job that removes those whose period is over.

An app registers its rules when it is loaded: `rules.register_rules(RetentionRule(...))`.
"""
