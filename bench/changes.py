"""One change of each class, made in a real container and undone: what `python -m bench.latency` measures.

Files are changed through the container's root as the runtime mounts it, with no process in between; what must happen inside is done by a
root shell in the container's namespaces, so that starting a process counts there.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from lab.images import busybox_image
from lab.layers import directory, file
from lab.oci import ImageLayout

CODE, MOUNTS = "usr/lib/app", "srv"
IN_MEMORY = r"""
#define _GNU_SOURCE
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>
int main(int count, char **words) {
    char block[65536], *arguments[] = {"sleep", "600", 0}, *environment[] = {0};
    int from = open("/bin/busybox", O_RDONLY), to = memfd_create(words[count - 1], 0);
    for (ssize_t size; (size = read(from, block, sizeof block)) > 0;)
        if (write(to, block, size) != size) return 2;
    fexecve(to, arguments, environment);
    return 3;
}
"""


@dataclass(frozen=True, slots=True)
class Inside:
    """A container: its root on the machine, and a shell in it."""

    root: Path
    run: Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """`do` makes it, `undo` takes it back; a finding must tell it as `change` of `path`."""

    path: str
    change: str
    do: Callable[[], object]
    undo: Callable[[], object]


def add(inside: Inside, number: int) -> Change:
    path = inside.root / CODE / f"added{number}.py"
    return Change(path=_told(inside, path), change="Added", do=lambda: path.write_bytes(os.urandom(4096)), undo=path.unlink)


def modify(inside: Inside, number: int) -> Change:
    path, before = _image_file(inside, number)
    new = os.urandom(4096)
    return Change(path=_told(inside, path), change="Modified", do=lambda: path.write_bytes(new), undo=lambda: path.write_bytes(before))


def replace(inside: Inside, number: int) -> Change:
    path, before = _image_file(inside, number)
    new = inside.root / f"tmp/new{number}"
    new.write_bytes(os.urandom(4096))
    return Change(path=_told(inside, path), change="Modified", do=lambda: new.rename(path), undo=lambda: path.write_bytes(before))


def delete(inside: Inside, number: int) -> Change:
    path, before = _image_file(inside, number)
    return Change(path=_told(inside, path), change="Deleted", do=path.unlink, undo=lambda: path.write_bytes(before))


def change_mode(inside: Inside, number: int) -> Change:
    path, _ = _image_file(inside, number)
    return Change(path=_told(inside, path), change="Metadata", do=lambda: path.chmod(0o666), undo=lambda: path.chmod(0o644))


def change_type(inside: Inside, number: int) -> Change:
    path, before = _image_file(inside, number)
    link = inside.root / f"tmp/link{number}"
    link.symlink_to("/etc/passwd")

    def undo() -> None:
        path.unlink()
        path.write_bytes(before)

    return Change(path=_told(inside, path), change="Type", do=lambda: link.rename(path), undo=undo)


def execute_dropped(inside: Inside, number: int) -> Change:
    path = f"/tmp/busybox{number}"  # it finds out what to do from how its name begins
    inside.run(f"cp /bin/busybox {path}")
    return Change(path=path, change="Executed", do=lambda: inside.run(f"{path} true"), undo=lambda: inside.run(f"rm {path}"))


def mount_over(inside: Inside, number: int) -> Change:
    path = f"/{MOUNTS}/d{number}"
    return Change(
        path=path, change="Mounted", do=lambda: inside.run(f"mount -t tmpfs none {path}"), undo=lambda: inside.run(f"umount {path}")
    )


def run_in_memory(inside: Inside, number: int) -> Change:
    do, undo = f"in-memory m{number} & p{number}=$!", f"kill $p{number}"
    return Change(path=f"/memfd:m{number}", change="Executed", do=lambda: inside.run(do), undo=lambda: inside.run(undo))


AT_ONCE: Mapping[str, tuple[Callable[[Inside, int], Change], str]] = {
    "added": (add, "drift"),
    "modified in place": (modify, "drift"),
    "replaced by a rename": (replace, "drift"),
    "deleted": (delete, "drift"),
    "metadata": (change_mode, "drift"),
    "type": (change_type, "drift"),
    "mounted over": (mount_over, "live"),
    "dropped program executed": (execute_dropped, ""),
}
"""What an event tells, and what is looked at again when it is undone; empty: what ran has run."""


def make_image(work: Path, name: str, repeats: int) -> ImageLayout:
    """Busybox with a file and a directory for each repetition, and a program that runs another one out of memory."""
    subprocess.run(["gcc", "-O1", "-static", "-x", "c", "-", "-o", work / "in-memory"], input=IN_MEMORY, text=True, check=True)
    files = {f"/{CODE}/module{number}.py".encode(): b"print(%d)\n" % number for number in range(repeats)}
    upper = [file(b"/bin/in-memory", (work / "in-memory").read_bytes(), 0o755), directory(f"/{MOUNTS}".encode())]
    upper += [directory(f"/{MOUNTS}/d{number}".encode()) for number in range(repeats)]
    return busybox_image(work / "image", name, files=files, upper_layers=[upper])


def _image_file(inside: Inside, number: int) -> tuple[Path, bytes]:
    path = inside.root / CODE / f"module{number}.py"
    return path, path.read_bytes()


def _told(inside: Inside, path: Path) -> str:
    return f"/{path.relative_to(inside.root)}"
