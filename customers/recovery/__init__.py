"""Recovery after a restore from a backup: every connection is on hold until it was scanned and released."""
