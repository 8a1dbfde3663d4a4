"""A container's own configuration (runtime-spec config.md, config-linux.md): what it mounts over its image, and its user namespace.

In: the configuration as JSON, written by whoever may start containers. Out: checked values; InputError for everything that is not as the
specification says. Never opens a path.
"""

from __future__ import annotations

import json
import posixpath
from dataclasses import dataclass, field
from typing import Any, Final

from intact.model.container import IdMap
from intact.model.errors import InputError

MAX_BYTES: Final = 4 << 20
MAX_MOUNTS: Final = 4096
MAX_IDS: Final = 1024
_PATH_BYTES: Final = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """`targets` are absolute, normalised and sorted; the maps are empty where the container has no user namespace of its own."""

    targets: tuple[bytes, ...] = ()
    uid_map: tuple[IdMap, ...] = ()
    gid_map: tuple[IdMap, ...] = ()
    annotations: dict[str, str] = field(default_factory=dict)


def parse_spec(document: bytes) -> Spec:
    """Reads the parts of a runtime configuration that matter here."""
    if len(document) > MAX_BYTES:
        raise InputError(f"the runtime configuration has {len(document)} bytes; at most {MAX_BYTES} are read")
    try:
        spec = json.loads(document)
    except (ValueError, RecursionError) as error:
        raise InputError(f"the runtime configuration is not JSON: {error}") from error
    spec = _of(spec, dict, "the document")
    linux = _of(spec.get("linux"), dict, "linux")
    spaces = [_of(space, dict, "linux.namespaces").get("type") for space in _list(linux.get("namespaces"), MAX_IDS, "linux.namespaces")]
    mapped = "user" in spaces
    mounts = _list(spec.get("mounts"), MAX_MOUNTS, "mounts")
    return Spec(
        targets=tuple(sorted({_target(_of(mount, dict, "mounts").get("destination")) for mount in mounts})),
        uid_map=_id_map(linux.get("uidMappings"), "linux.uidMappings") if mapped else (),
        gid_map=_id_map(linux.get("gidMappings"), "linux.gidMappings") if mapped else (),
        annotations={k: v for k, v in _of(spec.get("annotations"), dict, "annotations").items() if isinstance(v, str)},
    )


def _of(value: Any, kind: type[dict[str, Any]] | type[list[Any]], name: str) -> Any:
    """`value`, an empty one for null; raises InputError where it is of another type."""
    if value is None:
        return kind()
    if not isinstance(value, kind):
        raise InputError(f"{name} of the runtime configuration is not a {'list' if kind is list else 'map'}")
    return value


def _list(value: Any, limit: int, name: str) -> list[Any]:
    items: list[Any] = _of(value, list, name)
    if len(items) > limit:
        raise InputError(f"{name} of the runtime configuration has {len(items)} entries; at most {limit} are read")
    return items


def _target(destination: Any) -> bytes:
    """runc takes a relative destination as relative to the root (config.md#mounts), and so does this."""
    if not isinstance(destination, str) or not destination or "\0" in destination:
        raise InputError("a mount of the runtime configuration has no destination")
    path = posixpath.normpath("/" + destination.lstrip("/")).encode("utf-8", "surrogatepass")
    if len(path) > _PATH_BYTES:
        raise InputError(f"a mount of the runtime configuration has a destination of {len(path)} bytes")
    return path


def _id_map(value: Any, name: str) -> tuple[IdMap, ...]:
    lines = []
    for line in _list(value, MAX_IDS, name):
        numbers = [_of(line, dict, name).get(key) for key in ("containerID", "hostID", "size")]
        if not all(type(number) is int and 0 <= number < 1 << 32 for number in numbers):
            raise InputError(f"{name} of the runtime configuration has a line that is no id map")
        lines.append(IdMap(inside=numbers[0], outside=numbers[1], count=numbers[2]))
    return tuple(lines)
