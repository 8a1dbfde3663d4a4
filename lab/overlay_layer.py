"""An image layer from what commands change in a root file system: the upper directory of an overlay, packed.

In: a root directory, a script that runs in a chroot above it. Out: one uncompressed layer archive with whiteouts.
Never changes the root below, and leaves no mount: they are those of a mount namespace that ends with the script.
"""

from __future__ import annotations

import os
import stat
import subprocess
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from lab.layers import OPAQUE, WHITEOUT
from lab.settings import LabError

# $1 is the directory of the build, $2 the root below, $3 what to run.
IN_CHROOT = r"""set -eu
root=$1/root
mount -t overlay overlay -o "lowerdir=$2,upperdir=$1/upper,workdir=$1/work" "$root"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
touch "$root/etc/resolv.conf"
mount --bind /etc/resolv.conf "$root/etc/resolv.conf"
mount --bind "$1/lists" "$root/var/lib/apt/lists"
mount -t tmpfs tmpfs "$root/var/cache/apt"
mount -t tmpfs tmpfs "$root/tmp"
cp -a "$1/files/." "$root/tmp/files"
exec chroot "$root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 \
  DEBIAN_FRONTEND=noninteractive sh -eu -c "$3"
"""


def change_root(root: Path, build: Path, script: str, *, lists: Path, files: Path) -> Path:
    """Runs `script` in an overlay above `root` with a network; its /tmp/files is a copy of `files`. Returns the upper directory."""
    for name in ("upper", "work", "root"):
        (build / name).mkdir()
    (build / "lists").symlink_to(lists)
    (build / "files").symlink_to(files)
    isolated = ("unshare", "--mount", "--pid", "--fork", "--kill-child", "--propagation", "private")
    command = [*isolated, "sh", "-c", IN_CHROOT, "sh", str(build), str(root), script]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode:
        raise LabError(f"the commands for {files} failed ({done.returncode}): {(done.stderr or done.stdout).strip()[-2000:]}")
    (build / "upper/etc/resolv.conf").unlink(missing_ok=True)
    return build / "upper"


def pack_upper(upper: Path, archive: Path) -> None:
    """Writes `upper` as a layer: overlayfs's whiteouts and opaque directories as the image specification names them (layer.md)."""
    names: dict[tuple[int, int], str] = {}
    with tarfile.open(archive, "w", format=tarfile.PAX_FORMAT) as out:
        for path in _walk(upper):
            name, status = str(path.relative_to(upper)), path.lstat()
            if stat.S_ISCHR(status.st_mode) and status.st_rdev == 0:
                out.addfile(tarfile.TarInfo(str(Path(name).parent / (WHITEOUT.decode() + path.name))))
                continue
            if stat.S_ISSOCK(status.st_mode):
                continue  # an image holds none
            info = out.gettarinfo(path, name)
            info.uname = info.gname = ""
            info.pax_headers = dict(_extended(path))
            if info.type == tarfile.LNKTYPE and (status.st_dev, status.st_ino) not in names:
                info.type = tarfile.REGTYPE
            names.setdefault((status.st_dev, status.st_ino), name)
            if info.isreg():
                with path.open("rb") as content:
                    out.addfile(info, content)
            else:
                out.addfile(info)
            if info.isdir() and _attribute(path, "trusted.overlay.opaque") == b"y":
                out.addfile(tarfile.TarInfo(f"{name}/{OPAQUE.decode()}"))


def _walk(directory: Path) -> Iterator[Path]:
    for child in sorted(directory.iterdir()):
        yield child
        if child.is_dir() and not child.is_symlink():
            yield from _walk(child)


def _extended(path: Path) -> Iterator[tuple[str, str]]:
    if capability := _attribute(path, "security.capability"):
        yield "SCHILY.xattr.security.capability", capability.decode("utf-8", "surrogateescape")


def _attribute(path: Path, name: str) -> bytes | None:
    try:
        return os.getxattr(path, name, follow_symlinks=False)
    except OSError:
        return None


def describe_files(directory: Path) -> Mapping[str, str]:
    """What a cache's key needs of a directory of files: mode and content of each, by path."""
    files = sorted(path for path in directory.rglob("*") if path.is_file())
    return {str(path.relative_to(directory)): f"{path.stat().st_mode & 0o111:o} {path.read_bytes().hex()}" for path in files}
