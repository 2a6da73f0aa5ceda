"""The installation: which database it runs on, since when, and its backups."""
