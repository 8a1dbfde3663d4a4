"""Intact's own image, built from the repository without a container builder.

In: image/rootfs.sh, the pinned wheels, src/intact. Out: an OCI layout in the cache, the same digest for the same inputs.
Two layers: Python with the libraries, made anew when they change; Intact's own code, made anew in seconds.
"""

import hashlib
import json
import os
import shutil
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from lab.binaries import finished_directory, lock
from lab.oci import ImageLayout, PackedLayer, architecture, pack_layer, write_layout
from lab.processes import run
from lab.progress import step
from lab.settings import REPOSITORY, cache_dir

RECIPE = REPOSITORY / "image/rootfs.sh"
WHEELS = REPOSITORY / "image/requirements.lock"
CODE = REPOSITORY / "src/intact"
ENTRYPOINT = ("/usr/bin/python3", "-IB", "-m", "intact")
USER = "65532:65532"
KEEP = 5


def version() -> str:
    return str(tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["version"])


def ensure_image() -> ImageLayout:
    """The image of the code as it is now; needs root where it is not in the cache."""
    name = f"docker.io/intact/intact:{version()}"
    with lock("image"):
        dependencies = _dependencies_directory()
        program = _program_directory()
        while not program.exists():
            with finished_directory(program) as partial, step("image: Intact"):
                _build(partial, "program", partial / "root", dependencies / "root")
                built_from = _program_directory()
                if built_from != program:  # the code changed while it was copied: this is neither state of it
                    shutil.rmtree(partial)
            program = built_from
        layers = [_read_layer(dependencies), _read_layer(program)]
        image = write_layout(
            program / "layout",
            name,
            layers,
            entrypoint=ENTRYPOINT,
            environment=("PATH=/usr/bin", "LANG=C.UTF-8"),
            user=USER,
            labels={
                "org.opencontainers.image.title": "intact",
                "org.opencontainers.image.version": version(),
                "org.opencontainers.image.licenses": "Apache-2.0",
            },
        )
        os.utime(program)
        _forget_old()
    return image


def ensure_dependencies() -> Path:
    """The root directory of the image with Python and the libraries, without the program; needs root where it is not in the cache."""
    with lock("image"):
        return _dependencies_directory() / "root"


def layer_archives(image: ImageLayout) -> list[Path]:
    """The compressed layers, lowest first."""
    blobs = image.directory / "blobs"
    manifest = json.loads((blobs / image.manifest_digest.replace(":", "/")).read_text())
    return [blobs / layer["digest"].replace(":", "/") for layer in manifest["layers"]]


def size_bytes(image: ImageLayout) -> int:
    """What a node downloads."""
    return sum(path.stat().st_size for path in (image.directory / "blobs/sha256").iterdir())


def _dependencies_directory() -> Path:
    dependencies = cache_dir() / f"image-dependencies-{_digest([RECIPE, WHEELS], architecture())}"
    if not dependencies.exists():
        with finished_directory(dependencies) as partial, step("image: Python and libraries"):
            _build(partial, "dependencies", partial / "root")
    return dependencies


def _program_directory() -> Path:
    return cache_dir() / f"image-{_digest([RECIPE, WHEELS, *_code_files()], architecture(), version())}"


def _build(directory: Path, part: str, root: Path, *more: Path) -> None:
    pip = {"PIP": f"{sys.executable} -m pip"}
    run("bash", RECIPE, part, root, *more, env={**os.environ, **pip})
    archive = directory / "layer.tar"
    reproducible = ("--sort=name", "--numeric-owner", "--format=pax", "--pax-option=delete=atime,delete=ctime")
    names = sorted(path.name for path in root.iterdir())
    run("tar", *reproducible, "-C", root, "-cf", archive, *names)
    layer = pack_layer(archive, directory)
    archive.unlink()
    (directory / "layer.json").write_text(json.dumps({**asdict(layer), "path": layer.path.name}))


def _read_layer(directory: Path) -> PackedLayer:
    described = json.loads((directory / "layer.json").read_text())
    return PackedLayer(**{**described, "path": directory / described["path"]})


def _code_files() -> Iterator[Path]:
    for path in sorted(CODE.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            yield path


def _digest(files: list[Path], *words: str) -> str:
    digest = hashlib.sha256(json.dumps(words).encode())
    for path in files:
        digest.update(f"{path.relative_to(REPOSITORY)}\0{path.stat().st_size}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _forget_old() -> None:
    """Keeps the images of the last few states of the code."""
    made = [path for path in cache_dir().glob("image-????????????????") if path.is_dir()]
    for path in sorted(made, key=lambda path: path.stat().st_mtime)[:-KEEP]:
        shutil.rmtree(path)
