"""A container's own configuration (runtime-spec config.md, config-linux.md): what it mounts over its image, and its user namespace.

In: the configuration as JSON, written by whoever may start containers. Out: checked values; InputError for everything that is not as the
specification says. Never opens a path.
"""

from __future__ import annotations

import json
import posixpath
from dataclasses import dataclass, field
from typing import Any, Final

from intact.model.container import DeclaredMount, IdMap
from intact.model.errors import InputError

MAX_BYTES: Final = 4 << 20
MAX_MOUNTS: Final = 4096
MAX_IDS: Final = 1024
MAX_OPTIONS: Final = 256
_PATH_BYTES: Final = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """`targets` are absolute, normalised and sorted, `mounts` in their own order; `is_read_only` is the root's;
    the maps are empty where the container has no user namespace of its own."""

    targets: tuple[bytes, ...] = ()
    mounts: tuple[DeclaredMount, ...] = ()
    is_read_only: bool = False
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
    mounts = [_mount(_of(mount, dict, "mounts")) for mount in _list(spec.get("mounts"), MAX_MOUNTS, "mounts")]
    masked = [path for name in ("maskedPaths", "readonlyPaths") for path in _list(linux.get(name), MAX_MOUNTS, f"linux.{name}")]
    return Spec(
        targets=tuple(sorted({mount.target for mount in mounts})),
        mounts=(*mounts, *(DeclaredMount(target=_target(path), kind="masked") for path in masked)),
        is_read_only=_of(spec.get("root"), dict, "root").get("readonly") is True,
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


def _mount(mount: dict[str, Any]) -> DeclaredMount:
    options = tuple(text for text in _list(mount.get("options"), MAX_OPTIONS, "mounts.options") if isinstance(text, str))
    kind, source = mount.get("type"), mount.get("source")
    if "bind" in options or "rbind" in options:
        kind = "bind"
    return DeclaredMount(
        target=_target(mount.get("destination")),
        kind=kind if isinstance(kind, str) else "",
        source=source if isinstance(source, str) else "",
        options=options,
    )


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
