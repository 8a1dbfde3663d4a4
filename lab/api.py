"""Plain reads of a cluster's API, for waiting and for the name server.

In: a kubeconfig file of this harness. Out: decoded JSON, or None while the API does not answer. Never writes.
"""

import base64
import http.client
import json
import ssl
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit


class ApiReader:
    def __init__(self, kubeconfig: Path) -> None:
        config = json.loads(kubeconfig.read_text())
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        self._address = urlsplit(cluster["server"])
        self._headers = {"Authorization": "Bearer " + user["token"], "Accept": "application/json"}
        authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
        self._tls = ssl.create_default_context(cadata=authority)

    def get(self, path: str, *, timeout_s: float = 5.0) -> Any | None:
        """The JSON (or text) at `path`; None when the API is not there yet, is busy, or has no such object."""
        connection = http.client.HTTPSConnection(self._address.hostname or "", self._address.port, context=self._tls, timeout=timeout_s)
        try:
            connection.request("GET", path, headers=self._headers)
            answer = connection.getresponse()
            body = answer.read()
            if answer.status != 200:
                return None
            return json.loads(body) if answer.headers.get_content_type() == "application/json" else body.decode()
        except OSError:
            return None
        finally:
            connection.close()

    def is_ready(self) -> bool:
        return self.get("/readyz") == "ok"
