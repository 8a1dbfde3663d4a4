"""Where a containers-storage store is (storage.conf(5), containers-transports(5)).

In: what the user wrote, or nothing: then the configuration of this user. Out: a driver, the graph root, the stores it falls back to.
Never creates anything, and reads nothing but configuration files.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from intact.model.errors import InputError

SYSTEM_FILES = (Path("/etc/containers/storage.conf"), Path("/usr/share/containers/storage.conf"))
SYSTEM_GRAPHROOT = Path("/var/lib/containers/storage")
SYSTEM_RUNROOT = Path("/run/containers/storage")
DRIVERS = ("overlay", "vfs")
"""What can be read: each layer is a plain directory."""
_SAME = {"overlay2": "overlay"}
_MAX_CONFIGURATION_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """`driver` is empty where nobody named one: then it is the one that the store was written with. `additional`: read-only stores that
    images and layers may lie in instead (additionalimagestores)."""

    graphroot: Path
    driver: str = ""
    runroot: Path | None = None
    additional: tuple[Path, ...] = ()


def default_place(environment: Mapping[str, str] = os.environ, *, uid: int | None = None, system: tuple[Path, ...] = SYSTEM_FILES) -> Place:
    """The store of root, or of the user `uid` (this process's). Raises InputError if the configuration is malformed."""
    uid = os.getuid() if uid is None else uid
    home = Path(environment.get("HOME") or "/root" if uid == 0 else environment.get("HOME") or f"/home/{uid}")
    files = list(system)
    if uid:
        files.insert(0, Path(environment.get("XDG_CONFIG_HOME") or home / ".config") / "containers/storage.conf")
    if named := environment.get("CONTAINERS_STORAGE_CONF"):
        files = [Path(named)]
    file = next((file for file in files if file.is_file()), None)
    storage = _section(_read(file), "storage", file) if file else {}
    options = _section(storage, "options", file) if file else {}
    graphroot = _text(storage, "graphroot", file)
    if uid:
        own = graphroot if file is not None and file not in system else ""
        data = Path(environment.get("XDG_DATA_HOME") or home / ".local/share")
        graphroot = _expand(_text(storage, "rootless_storage_path", file) or own, home, uid) or str(data / "containers/storage")
    runroot = _text(storage, "runroot", file) if not uid else ""
    additional = options.get("additionalimagestores", [])
    if not isinstance(additional, list) or not all(isinstance(path, str) for path in additional):
        raise InputError(f"{file}: additionalimagestores is not a list of paths", code="StorageConfiguration")
    return Place(
        graphroot=Path(graphroot or SYSTEM_GRAPHROOT),
        driver=check_driver(environment.get("STORAGE_DRIVER") or _text(storage, "driver", file)),
        runroot=Path(runroot or SYSTEM_RUNROOT) if not uid else None,
        additional=tuple(Path(path) for path in additional if path),
    )


def check_driver(driver: str) -> str:
    """The driver by its usual name, empty if none is named. Raises InputError for one whose layers are no plain directories."""
    driver = _SAME.get(driver, driver)
    if driver and driver not in DRIVERS:
        raise InputError(
            f"containers-storage with the driver {driver[:40]!r} cannot be read",
            code="StorageDriver",
            hint=f"{' and '.join(DRIVERS)} can; otherwise copy the image: skopeo copy containers-storage:NAME oci-archive:FILE",
        )
    return driver


def _read(file: Path) -> dict[str, Any]:
    try:
        with file.open("rb") as opened:
            data = opened.read(_MAX_CONFIGURATION_BYTES + 1)
        if len(data) > _MAX_CONFIGURATION_BYTES:
            raise InputError(f"{file} is larger than {_MAX_CONFIGURATION_BYTES} bytes", code="StorageConfiguration")
        return tomllib.loads(data.decode())
    except OSError as error:
        raise InputError(f"cannot read {file}: {error.strerror}", code="StorageConfiguration") from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise InputError(f"{file} is malformed: {error}", code="StorageConfiguration") from None


def _section(document: Mapping[str, Any], key: str, file: Path | None) -> dict[str, Any]:
    found = document.get(key, {})
    if not isinstance(found, dict):
        raise InputError(f"{file}: [{key}] is not a table", code="StorageConfiguration")
    return found


def _text(document: Mapping[str, Any], key: str, file: Path | None) -> str:
    found = document.get(key, "")
    if not isinstance(found, str):
        raise InputError(f"{file}: {key} is not a text", code="StorageConfiguration")
    return found


def _expand(path: str, home: Path, uid: int) -> str:
    """$HOME, $UID and $USER, as storage.conf(5) allows them in a rootless path."""
    return path.replace("$HOME", str(home)).replace("$UID", str(uid)).replace("$USER", home.name)
