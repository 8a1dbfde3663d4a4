"""Who a container is, from what the runtime keeps about it.

In: containerd's record of a container, unverified: labels come from image authors too. Out: the id, names and pod that findings carry,
bounded and printable.

A pod is believed only where the record has the extension that the Kubernetes side of containerd (CRI) writes: labels alone may come from an
image (`LABEL io.kubernetes.pod.name=…` reaches the labels of a container that somebody starts by hand).
"""

from __future__ import annotations

import json
import re
from typing import Any, Final

from intact.model.container import Pod
from intact.model.digest import Digest
from intact.model.entry import display_path
from intact.model.errors import InputError

from . import containerd_pb2 as pb

CONTAINER_EXTENSION: Final = "io.cri-containerd.container.metadata"
SANDBOX_EXTENSION: Final = "io.cri-containerd.sandbox.metadata"
SANDBOX_NAME: Final = "POD"
"""The name of a pod's sandbox ("pause") container, in capitals as cAdvisor has it: no container of a pod spec can be called so."""
MAX_NAME_LENGTH: Final = 253
_MAX_EXTENSION_BYTES: Final = 1 << 20
_RANDOM_ID: Final = re.compile(r"[0-9a-f]{64}")
_DNS_NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
_UID: Final = re.compile(r"[0-9A-Za-z-]{1,64}")


def qualify_id(namespace: str, id: str) -> str:
    """The id by which a container is known outside the runtime: as it is where it is random or of the namespace `default`, else
    `NAMESPACE/ID`, because two namespaces may use the same name."""
    text = printable(id)
    return text if namespace == "default" or _RANDOM_ID.fullmatch(id) else f"{printable(namespace)}/{text}"


def read_pod(record: pb.Container) -> Pod | None:
    """The pod, or None for a container that Kubernetes does not know."""
    if not _is_kubernetes(record):
        return None
    label = record.labels.get
    namespace, name, uid = (label(f"io.kubernetes.pod.{part}", "") for part in ("namespace", "name", "uid"))
    if not (_DNS_NAME.fullmatch(namespace) and _DNS_NAME.fullmatch(name) and _UID.fullmatch(uid)):
        return None
    return Pod(namespace=namespace, name=name, uid=uid)


def read_name(record: pb.Container, id: str) -> str:
    """The container's name in its pod, `POD` for the sandbox, the id where there is no pod."""
    if SANDBOX_EXTENSION in record.extensions:
        return SANDBOX_NAME
    name = record.labels.get("io.kubernetes.container.name", "") if _is_kubernetes(record) else ""
    return name if _DNS_NAME.fullmatch(name) else id


def read_pinned_image(record: pb.Container) -> Digest | None:
    """The config digest that CRI noted when it made the container: unlike the image's name, it cannot move afterwards."""
    if CONTAINER_EXTENSION not in record.extensions:
        return None
    value = record.extensions[CONTAINER_EXTENSION].value
    if len(value) > _MAX_EXTENSION_BYTES:
        return None
    try:
        document: Any = json.loads(value)
        return Digest.parse(str(document["Metadata"]["ImageRef"]))
    except (ValueError, RecursionError, LookupError, TypeError, InputError):
        return None  # another version's record: the name has to do


def printable(text: str, limit: int = MAX_NAME_LENGTH) -> str:
    """`text` without anything that a terminal or a log would take for more than text."""
    return display_path(text.encode("utf-8", "surrogatepass"), limit)


def _is_kubernetes(record: pb.Container) -> bool:
    return CONTAINER_EXTENSION in record.extensions or SANDBOX_EXTENSION in record.extensions
