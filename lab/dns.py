"""The name server of a cluster: `SERVICE.NAMESPACE.svc.cluster.local` → addresses, read from the API (`python -m lab.dns STATE`).

In: DNS queries over UDP (RFC 1035). Out: A records of services, and of the ready endpoints of headless ones.
Never asks another name server: nothing of a cluster reaches outside, so every other name is refused.
"""

import socketserver
import struct
import sys
import time
from pathlib import Path

from lab.api import ApiReader
from lab.plan import load_plan

ZONE = ("svc", "cluster", "local")
TYPE_A, CLASS_IN = 1, 1
NO_ERROR, FORMAT_ERROR, NO_SUCH_NAME, REFUSED = 0, 1, 3, 5
TTL_S = 2
KEEP_S = 1.0


class Services:
    """Addresses by (service, namespace), at most KEEP_S old."""

    def __init__(self, api: ApiReader) -> None:
        self._api = api
        self._addresses: dict[tuple[str, str], list[str]] = {}
        self._read_at = float("-inf")

    def find(self, service: str, namespace: str) -> list[str] | None:
        """Addresses (none, where a headless service has no ready endpoint), or None when there is no such service."""
        if time.monotonic() - self._read_at > KEEP_S:
            self._read()
        return self._addresses.get((service, namespace))

    def _read(self) -> None:
        services = self._api.get("/api/v1/services")
        slices = self._api.get("/apis/discovery.k8s.io/v1/endpointslices")
        if services is None or slices is None:
            return  # the API is busy: what was read before still holds
        found: dict[tuple[str, str], list[str]] = {}
        for item in services["items"]:
            address = item["spec"].get("clusterIP", "None")
            found[item["metadata"]["name"], item["metadata"]["namespace"]] = [] if address == "None" else [address]
        headless = {key for key, addresses in found.items() if not addresses}
        for item in slices["items"]:
            name = item["metadata"].get("labels", {}).get("kubernetes.io/service-name", "")
            if (key := (name, item["metadata"]["namespace"])) in headless:
                for endpoint in item.get("endpoints") or []:
                    if endpoint.get("conditions", {}).get("ready", True):
                        found[key] += endpoint["addresses"]
        self._addresses, self._read_at = found, time.monotonic()


def answer_query(query: bytes, services: Services) -> bytes:
    """The reply to one query message (RFC 1035 §4); one question, no compression in names."""
    if len(query) < 12:
        return b""
    identifier, flags, questions = struct.unpack_from(">HHH", query)
    labels, position = [], 12
    while position < len(query) and (length := query[position]):
        labels.append(query[position + 1 : position + 1 + length].decode("ascii", "replace").lower())
        position += 1 + length
    question = query[12 : position + 5]
    if questions != 1 or len(question) != position - 7:
        return struct.pack(">HHHHHH", identifier, 0x8000 | FORMAT_ERROR, 0, 0, 0, 0)
    kind, class_ = struct.unpack_from(">HH", query, position + 1)
    addresses: list[str] | None = None
    code = REFUSED
    if tuple(labels[-2:]) == ZONE[1:]:
        code = NO_SUCH_NAME
        if len(labels) == 5 and tuple(labels[2:]) == ZONE:
            addresses = services.find(labels[0], labels[1])
            code = NO_SUCH_NAME if addresses is None else NO_ERROR
    given = (addresses or []) if (kind, class_) == (TYPE_A, CLASS_IN) else []
    reply = struct.pack(">HHHHHH", identifier, 0x8480 | (flags & 0x0100) | code, 1, len(given), 0, 0) + question
    for address in given:
        octets = bytes(int(part) for part in address.split("."))
        reply += struct.pack(">HHHIH", 0xC00C, TYPE_A, CLASS_IN, TTL_S, 4) + octets
    return reply


def main() -> None:
    plan = load_plan(Path(sys.argv[1]))
    services = Services(ApiReader(plan.kubeconfig))

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            query, socket = self.request
            if reply := answer_query(query, services):
                socket.sendto(reply, self.client_address)

    with socketserver.UDPServer((plan.api_ip, 53), Handler) as server:
        server.serve_forever()


if __name__ == "__main__":
    main()
