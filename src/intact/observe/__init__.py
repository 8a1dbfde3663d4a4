"""Stage 3: a running container in, what was seen of its files out."""
