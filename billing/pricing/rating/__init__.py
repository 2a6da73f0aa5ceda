"""The rating engine: pure functions from a rating case to statement lines. Knows no database and no Django."""
