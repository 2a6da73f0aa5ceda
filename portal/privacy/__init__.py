"""Personal data of a person: where it is, its export, and its erasure."""
