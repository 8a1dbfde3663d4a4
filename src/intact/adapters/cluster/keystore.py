"""The controller's certificates in a Secret of its own namespace, and what agents pin of them in a ConfigMap.

In: files by name. Out: one Secret, replaced whole and only in the version that was read; one ConfigMap with public parts alone.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping

from intact.model.errors import TemporaryError

from .api import Api, Conflict, Object
from .kinds import CONFIG_MAP, SECRET

KEYS_SECRET = "intact-controller-keys"
PINNED_CONFIG = "intact-ca"


class SecretStore:
    """Implements `adapters.keys.tls.CertificateStore`."""

    def __init__(self, api: Api, namespace: str) -> None:
        self._api, self._namespace = api, namespace
        self._version = ""

    def read(self) -> Mapping[str, bytes]:
        found = self._api.get(SECRET, KEYS_SECRET, self._namespace)
        self._version = found["metadata"]["resourceVersion"] if found else ""
        return {name: base64.b64decode(value) for name, value in ((found or {}).get("data") or {}).items()}

    def replace(self, files: Mapping[str, bytes], *, read_before: Mapping[str, bytes]) -> None:
        """The resource version of the last `read` is the precondition, whatever `read_before` was."""
        metadata = {"name": KEYS_SECRET, "namespace": self._namespace}
        body: Object = {"apiVersion": SECRET.api_version, "kind": SECRET.kind, "metadata": metadata, "type": "Opaque"}
        body["data"] = {name: base64.b64encode(data).decode() for name, data in files.items()}
        try:
            if self._version:
                metadata["resourceVersion"] = self._version
                self._api.replace(SECRET, body)
            else:
                self._api.create(SECRET, body)
        except Conflict as error:
            raise TemporaryError(
                "the controller's keys were changed by another replica", code="Conflict", hint="read them again"
            ) from error


def publish_pinned(api: Api, namespace: str, files: Mapping[str, bytes]) -> None:
    """Shows agents and auditors what to pin: `files` are public and text."""
    wanted = {name: data.decode() for name, data in files.items()}
    found = api.get(CONFIG_MAP, PINNED_CONFIG, namespace)
    if found is not None and found.get("data") == wanted:
        return
    metadata = {"name": PINNED_CONFIG, "namespace": namespace}
    body: Object = {"apiVersion": CONFIG_MAP.api_version, "kind": CONFIG_MAP.kind, "metadata": metadata, "data": wanted}
    if found is None:
        api.create(CONFIG_MAP, body)
    else:
        metadata["resourceVersion"] = found["metadata"]["resourceVersion"]
        api.replace(CONFIG_MAP, body)
