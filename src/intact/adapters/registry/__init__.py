"""Registries: the part of the OCI distribution specification that reading images needs."""
