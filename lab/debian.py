"""A Debian root file system as one image layer, from packages alone.

In: package names. Out: a packed layer in the cache, the same bytes for the same packages and their versions.
Never installs anything on the machine; made once and kept outside the tree.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from lab.binaries import finished_directory, lock
from lab.oci import PackedLayer, architecture, pack_layer
from lab.processes import run
from lab.progress import step
from lab.settings import LabError, cache_dir

SUITE = "bookworm"
SOURCE_DATE_EPOCH = "1700000000"
RECIPE = 1
# What an image does not need and what differs from build to build.
LEFT_OUT = (
    "/usr/share/doc/*",
    "/usr/share/info/*",
    "/usr/share/locale/*",
    "/usr/share/man/*",
    "/var/cache/*",
    "/var/log/*",
)


def debian_layer(packages: Sequence[str], *, suite: str = SUITE) -> PackedLayer:
    """The layer of a root with `packages` and what they need: about a minute the first time."""
    words = json.dumps([RECIPE, suite, architecture(), SOURCE_DATE_EPOCH, sorted(packages), LEFT_OUT])
    directory = cache_dir() / f"debian-{hashlib.sha256(words.encode()).hexdigest()[:16]}"
    if not (directory / "layer.json").exists():
        with lock(directory.name):
            if not (directory / "layer.json").exists():
                _build(directory, packages, suite)
    described = json.loads((directory / "layer.json").read_text())
    return PackedLayer(**{**described, "path": directory / described["path"]})


def _build(directory: Path, packages: Sequence[str], suite: str) -> None:
    if not shutil.which("mmdebstrap"):
        raise LabError("no mmdebstrap: `make tools` installs it")
    with finished_directory(directory) as partial, step(f"Debian root with {', '.join(packages)}"):
        archive = partial / "root.tar"
        bootstrap(archive, packages, suite=suite)
        layer = pack_layer(archive, partial)
        archive.unlink()
        described = {**asdict(layer), "path": layer.path.name}
        (partial / "layer.json").write_text(json.dumps(described))


def bootstrap(archive: Path, packages: Sequence[str], *, suite: str, options: Sequence[str] = ()) -> None:
    """Writes the archive of a root without apt's own state: `mmdebstrap --variant=essential` with `packages`."""
    mirror = os.environ.get("INTACT_DEBIAN_MIRROR")
    left_out = [f"--dpkgopt=path-exclude={path}" for path in LEFT_OUT[:4]]
    trim = "; ".join(f'find "$1{path.removesuffix("/*")}" -mindepth 1 -delete' for path in LEFT_OUT[4:])
    clean = f'{trim}; mkdir -p "$1/var/log/nginx"; rm -f "$1/etc/hostname" "$1/etc/resolv.conf"'
    command = [
        "mmdebstrap",
        "--quiet",
        '--aptopt=Acquire::Retries "3"',
        "--variant=essential",
        f"--include={','.join(packages)}",
        *left_out,
        *options,
    ]
    command += [f"--customize-hook={clean}", suite, str(archive), *([mirror] if mirror else [])]
    run(*command, env={**os.environ, "SOURCE_DATE_EPOCH": SOURCE_DATE_EPOCH, "DEBIAN_FRONTEND": "noninteractive"})
