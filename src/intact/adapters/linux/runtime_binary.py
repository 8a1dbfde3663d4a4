"""Whether what a process runs is the container runtime's own program: the first stage of every start and every `exec`.

In: a process, the file that it runs, and a process of the host beside it (the container's shim). Out: yes or no. Never by name: a file is
the runtime's if it is the very file that the host has at one of the places of a runtime, or a copy in memory of the same size and digest
(runc seals itself so that no container can overwrite it).
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from . import syscalls
from .running import Bytes, File, RunningFiles

PLACES = (
    b"/usr/bin/runc", b"/usr/sbin/runc", b"/usr/local/bin/runc", b"/usr/local/sbin/runc", b"/sbin/runc", b"/usr/libexec/runc",
    b"/usr/bin/crun", b"/usr/sbin/crun", b"/usr/local/bin/crun", b"/usr/local/sbin/crun", b"/usr/libexec/crio/runc",
    b"/usr/libexec/crio/crun", b"/var/lib/rancher/k3s/data/current/bin/runc", b"/var/lib/rancher/rke2/bin/runc",
    b"/snap/microk8s/current/bin/runc", b"/opt/containerd/bin/runc", b"/var/lib/k0s/bin/runc", b"/usr/bin/youki",
)  # fmt: skip
"""Where distributions and packages of Kubernetes have runc, crun and youki."""


class RuntimeBinary:
    """Looks the places up through the root of a host process, since an agent in a container has another root."""

    def __init__(self, files: RunningFiles) -> None:
        self._files = files
        self._memory = memory_device()

    def is_run_by(self, program: File, host_pid: int) -> bool:
        """Whether `program` is the runtime's. `host_pid`: a process that has the host's files as its root."""
        try:
            if program.device == self._memory:
                about = os.stat(program.link)
                copy: Bytes | None = None
                for held in _hold_places(host_pid):
                    original = os.fstat(held)
                    if original.st_size != about.st_size:
                        continue
                    copy = copy or self._files.read(program)
                    here = self._files.read(File(link=b"/proc/self/fd/%d" % held, path=b"", device=original.st_dev))
                    if copy is not None and here is not None and copy.digest is not None and copy.digest == here.digest:
                        return True
                return False
            for held in _hold_places(host_pid):
                original = os.fstat(held)
                if original.st_dev == program.device and os.path.samestat(original, os.stat(program.link)):
                    return True
        except OSError:
            return False
        return False


def memory_device() -> int:
    """The st_dev of every memfd."""
    descriptor = os.memfd_create("intact", os.MFD_CLOEXEC)
    try:
        return os.fstat(descriptor).st_dev
    finally:
        os.close(descriptor)


def _hold_places(host_pid: int) -> Iterator[int]:
    """A descriptor of each place that is there, valid until the next one; links are followed inside the host's root."""
    root = os.open(b"/proc/%d/root" % host_pid, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for place in PLACES:
            try:
                held = syscalls.openat2(root, place, os.O_PATH, syscalls.RESOLVE_IN_ROOT | syscalls.RESOLVE_NO_MAGICLINKS)
            except OSError:
                continue  # nothing there
            try:
                yield held
            finally:
                os.close(held)
    finally:
        os.close(root)
