"""Images on this machine's disk: OCI layouts, docker-archives, directories."""
