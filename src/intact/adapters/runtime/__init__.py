"""Container runtimes: which containers run on this host, where their files are, and what their images hold."""
