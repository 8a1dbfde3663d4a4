"""Signatures made with an identity instead of a key, verified offline by the `sigstore` library; present only with the extra `keyless`."""
