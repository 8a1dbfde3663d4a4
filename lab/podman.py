"""A containers-storage store of its own, written by Podman's tools: `with Podman("overlay") as podman:`.

In: OCI layouts and other images as skopeo names them. Out: their file trees as Podman gives them to containers, and the store on disk.
Never touches a store of the machine, and leaves nothing behind: no mount, process or file; what a killed owner left is
removed by the next runtime that starts.
"""

import contextlib
import itertools
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from lab.oci import ImageLayout
from lab.processes import started_at, terminate_as_interrupt, uninterrupted
from lab.runtime import PREFIX, STORE, remove_abandoned, remove_runtime
from lab.settings import LabError, state_dir

Driver = Literal["overlay", "vfs"]
_numbers = itertools.count()


class Podman:
    def __init__(self, driver: Driver = "overlay", *, mount_options: str = "") -> None:
        """`mount_options` as containers-storage.conf(5) has them (`mountopt`); most distributions set `nodev,metacopy=on`."""
        self.driver, self._mount_options = driver, mount_options
        self.name = f"{PREFIX}{os.getpid()}-podman{next(_numbers)}"
        self.state = state_dir() / self.name
        self.graphroot = self.state / STORE
        self.runroot = Path("/run", self.name)
        self._cleanup = contextlib.ExitStack()

    def __enter__(self) -> Self:
        if os.geteuid():
            raise LabError("a store that containers can use needs root: run this as root or through sudo")
        remove_abandoned()
        with self._cleanup as cleanup:
            cleanup.enter_context(terminate_as_interrupt())
            cleanup.callback(self._remove)
            self.state.mkdir(parents=True)
            (self.state / "owner").write_text(f"{os.getpid()} {started_at(os.getpid())}")
            self.runroot.mkdir(mode=0o711)
            (self.state / "storage.conf").write_text(self._configure())
            self._cleanup = cleanup.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._cleanup.close()

    @property
    def place(self) -> str:
        """The store as containers-transports(5) writes it."""
        return f"[{self.driver}@{self.graphroot}+{self.runroot}]"

    def source(self, name: str) -> str:
        return f"containers-storage:{self.place}{name}"

    def podman(self, *arguments: str, check: bool = True) -> str:
        """Runs podman on this store; what it says on stdout."""
        options = [f"--root={self.graphroot}", f"--runroot={self.runroot}", f"--storage-driver={self.driver}"]
        if self._mount_options:
            options.append(f"--storage-opt=overlay.mountopt={self._mount_options}")
        return self._run("podman", *options, "--cgroup-manager=cgroupfs", *arguments, check=check)

    def copy_in(self, image: ImageLayout | str, name: str = "") -> str:
        """Copies an image into the store, as `podman pull` does; returns its name there. Raises LabError if it cannot be unpacked."""
        source = image.source if isinstance(image, ImageLayout) else image
        name = name or (image.name if isinstance(image, ImageLayout) else "")
        self._run("skopeo", "copy", "--quiet", "--src-tls-verify=false", source, self.source(name))
        return name

    @contextlib.contextmanager
    def mounted(self, name: str) -> Iterator[Path]:
        """The image's tree as a container would see it."""
        point = Path(json.loads(self.podman("image", "mount", "--format=json", name))[0]["mountpoint"])
        try:
            yield point
        finally:
            self.podman("image", "unmount", name)

    @contextlib.contextmanager
    def running(self, name: str, *command: str) -> Iterator[dict[str, Any]]:
        """A container of the image without a network; what `podman inspect` says of it."""
        limits = ("--ulimit=nofile=1024:1024", "--ulimit=nproc=1024:1024")  # podman would ask for more than it may have here
        options = ("--detach", "--runtime=runc", "--network=none", f"--cgroup-parent=/{self.name}", *limits)
        id = self.podman("run", *options, name, *command).strip()
        try:
            yield json.loads(self.podman("inspect", id))[0]
        finally:
            self.podman("rm", "--force", "--time=0", id)

    def remove(self, name: str) -> None:
        self.podman("rmi", "--force", name)

    def _configure(self) -> str:
        options = f'[storage.options.overlay]\nmountopt = "{self._mount_options}"\n' if self._mount_options else ""
        return f'[storage]\ndriver = "{self.driver}"\ngraphroot = "{self.graphroot}"\nrunroot = "{self.runroot}"\n{options}'

    def _run(self, *command: str, check: bool = True) -> str:
        environment = {**os.environ, "CONTAINERS_STORAGE_CONF": str(self.state / "storage.conf"), "TMPDIR": str(self.state)}
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", stdin=subprocess.DEVNULL, env=environment)
        if check and done.returncode:
            raise LabError(f"{' '.join(command[:3])}: {done.stderr.strip()[-2000:]}")
        return done.stdout

    def _remove(self) -> None:
        with uninterrupted():
            remove_runtime(self.name)
