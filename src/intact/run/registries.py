"""The controller's one configuration file about registries → RegistryAccess (docs/registries.md).

In: JSON that the chart renders from `registries:`. Out: a record. An unknown key is an error: a choice that is spelt wrong must not be
silently none. The file holds no credential; where they are mounted, it names.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from intact.adapters.layout.names import parse_reference
from intact.adapters.registry.access import MAX_CONCURRENCY, RegistryAccess, check_host, collect_mirrors
from intact.adapters.registry.signatures import iterate_signatures
from intact.adapters.registry.source import RegistrySource
from intact.baseline.ports import UnverifiedSignature
from intact.model.digest import Digest
from intact.model.errors import InputError

MAX_BYTES = 1 << 20
SIGNATURES_WITHIN_S = 60.0
"""One image at a time: the next ones wait for no slow registry longer than this."""
_KEYS = frozenset({"plainHttp", "insecureTLS", "mirrors", "caFiles", "authDirectory", "concurrency"})


def read_registries(path: Path | None) -> RegistryAccess:
    """Without a file: anonymous, with TLS, no mirrors. Raises InputError that names what is wrong in it."""
    if path is None:
        return RegistryAccess()
    try:
        data = path.read_bytes()
        document = json.loads(data) if len(data) <= MAX_BYTES else None
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}", code="Registries") from None
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise InputError(f"{path} is not a JSON object", code="Registries")
    if unknown := sorted(set(document) - _KEYS):
        raise InputError(f"{path}: unknown: {', '.join(unknown)[:200]}", code="Registries", hint=f"known: {', '.join(sorted(_KEYS))}")
    mirrors = document.get("mirrors", {})
    if not isinstance(mirrors, dict):
        raise InputError(f"{path}: mirrors is not an object of lists", code="Registries")
    concurrency = document.get("concurrency", 3)
    if type(concurrency) is not int or not 1 <= concurrency <= MAX_CONCURRENCY:
        raise InputError(f"{path}: concurrency is not a number from 1 to {MAX_CONCURRENCY}", code="Registries")
    directory = document.get("authDirectory", "")
    if not isinstance(directory, str):
        raise InputError(f"{path}: authDirectory is not a path", code="Registries")
    return RegistryAccess(
        plain_http=frozenset(check_host(host) for host in _texts(document, "plainHttp", path)),
        insecure_tls=frozenset(check_host(host) for host in _texts(document, "insecureTLS", path)),
        ca_files=tuple(Path(name) for name in _texts(document, "caFiles", path)),
        mirrors=collect_mirrors((host, mirror) for host in mirrors for mirror in _texts(mirrors, host, path)),
        auth_directory=Path(directory) if directory else None,
        concurrency=concurrency,
    )


@contextmanager
def open_signatures(reference: str, access: RegistryAccess) -> Iterator[Iterator[UnverifiedSignature]]:
    """What the registry holds as signatures of `HOST/REPO@sha256:…`. Raises IntactError, also while they are read."""
    name = parse_reference(reference)
    source = RegistrySource(name.host, name.repository, name.reference, access=access.within(SIGNATURES_WITHIN_S))
    try:
        yield iterate_signatures(source.clients, Digest.parse(name.reference))
    finally:
        source.close()


def _texts(document: dict[str, Any], key: str, path: Path) -> list[str]:
    found = document.get(key, [])
    if not isinstance(found, list) or not all(isinstance(item, str) for item in found):
        raise InputError(f"{path}: {key[:200]} is not a list of texts", code="Registries")
    return found
