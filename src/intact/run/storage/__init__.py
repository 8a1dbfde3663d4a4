"""Where a process keeps what it knows, and how that is carried elsewhere."""
