"""Prices, contracts and rating."""
