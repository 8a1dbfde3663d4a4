"""A containerd of its own, without Kubernetes: `with Runtime() as runtime:`.

In: OCI layouts and image archives. Out: running containers, seen by the machine as any container of its own would be.
Never talks to a containerd of the machine, and leaves nothing behind: no process, mount, control group, socket or file; what a killed
owner left is removed by the next runtime that starts.

Layers and snapshots lie on the disk of the state directory (overlay on tmpfs behaves differently); sockets and bundles in /run, where
paths are short enough for sockets (unix(7): 107 bytes).
"""

import contextlib
import itertools
import json
import os
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from lab import oci
from lab.cgroups import find_groups, hierarchies, processes_in, remove_groups
from lab.mounts import mounts_below, unmount_below
from lab.processes import is_alive, kill_all, kill_by_argument, started_at, terminate_as_interrupt, uninterrupted
from lab.settings import LabError, state_dir

PREFIX = "intact-runtime-"
STORE = "storage"  # of containers-storage, in the directory of a Podman of ours
BUNDLES = "io.containerd.runtime.v2.task"
START_TIMEOUT_S = 20.0
_numbers = itertools.count()


class Runtime:
    def __init__(self) -> None:
        self.name = f"{PREFIX}{os.getpid()}-{next(_numbers)}"
        self.state = state_dir() / self.name
        self.run_directory = Path("/run", self.name)
        self.root = self.state / "root"
        self.address = self.run_directory / "containerd.sock"
        self._cleanup = contextlib.ExitStack()
        self._daemon: subprocess.Popen[bytes] | None = None
        self._commands = itertools.count()

    def __enter__(self) -> Self:
        if os.geteuid():
            raise LabError("a container runtime needs root: run this as root or through sudo")
        remove_abandoned()
        with self._cleanup as cleanup:
            cleanup.enter_context(terminate_as_interrupt())
            cleanup.callback(self._remove)
            self._start()
            self._cleanup = cleanup.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._cleanup.close()

    def ctr(self, *arguments: str, namespace: str = "default", check: bool = True) -> subprocess.CompletedProcess[str]:
        """Runs containerd's own client."""
        command = ["ctr", "--address", str(self.address), "--namespace", namespace, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", stdin=subprocess.DEVNULL)
        if check and done.returncode:
            raise LabError(f"ctr {' '.join(arguments)}: {done.stderr.strip()}")
        return done

    def import_image(self, image: "Path | oci.ImageLayout", *, namespace: str = "default") -> list[str]:
        """Imports and unpacks an OCI layout (directory) or an archive of one, or of `docker save`; returns the names."""
        path = image.directory if isinstance(image, oci.ImageLayout) else image
        before = set(self.image_names(namespace=namespace))
        with contextlib.ExitStack() as stack:
            if path.is_dir():
                packer = stack.enter_context(oci.stream_layout(path))
                assert packer.stdout is not None
                source = packer.stdout
            else:
                source = stack.enter_context(path.open("rb"))
            command = ["ctr", "--address", str(self.address), "--namespace", namespace, "images", "import", "-"]
            done = subprocess.run(command, stdin=source, capture_output=True, text=True)
        if done.returncode:
            raise LabError(f"cannot import {path}: {done.stderr.strip()}")
        said = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("unpacking ")]
        return said or sorted(set(self.image_names(namespace=namespace)) - before)

    def image_names(self, *, namespace: str = "default") -> list[str]:
        return self.ctr("images", "list", "--quiet", namespace=namespace).stdout.split()

    def run(
        self,
        image: str,
        id: str,
        command: Sequence[str] = (),
        *,
        namespace: str = "default",
        environment: Mapping[str, str] | None = None,
        mounts: Sequence[str] = (),
        options: Sequence[str] = (),
    ) -> int:
        """Starts a container and returns the pid of its first process. `mounts`, `options`: as `ctr run` takes them."""
        words = ["run", "--detach", "--snapshotter", "overlayfs", "--runc-root", str(self.run_directory / "runc")]
        words += ["--cgroup", f"/{self.name}/{id}", "--log-uri", f"file://{self.log(id)}"]
        words += [f"--env={name}={value}" for name, value in (environment or {}).items()]
        words += [f"--mount={mount}" for mount in mounts]
        self.ctr(*words, *options, image, id, *command, namespace=namespace)
        return self.pid(id, namespace=namespace)

    def exec(self, id: str, command: Sequence[str], *, namespace: str = "default", check: bool = True) -> subprocess.CompletedProcess[str]:
        """Runs a command in a container to its end."""
        words = ["tasks", "exec", "--exec-id", f"exec{next(self._commands)}"]
        words += ["--fifo-dir", str(self.run_directory / "fifo")]
        return self.ctr(*words, id, *command, namespace=namespace, check=check)

    def stop(self, id: str, *, namespace: str = "default") -> None:
        """Ends a container and removes it with its writable layer."""
        self.ctr("tasks", "kill", "--signal", "SIGKILL", id, namespace=namespace, check=False)
        self.ctr("tasks", "delete", "--force", id, namespace=namespace, check=False)
        self.ctr("containers", "delete", id, namespace=namespace)

    def pid(self, id: str, *, namespace: str = "default") -> int:
        return int((self.bundle(id, namespace=namespace) / "init.pid").read_text())

    def bundle(self, id: str, *, namespace: str = "default") -> Path:
        return self.run_directory / "state" / BUNDLES / namespace / id

    def rootfs(self, id: str, *, namespace: str = "default") -> Path:
        """The container's root as the runtime mounts it on the machine."""
        return self.bundle(id, namespace=namespace) / "rootfs"

    def upper(self, id: str, *, namespace: str = "default") -> Path:
        """The container's writable layer."""
        return Path(self._overlay(id, namespace)["upperdir"])

    def lowers(self, id: str, *, namespace: str = "default") -> list[Path]:
        """The container's read-only layers, the highest first."""
        return [Path(path) for path in self._overlay(id, namespace)["lowerdir"].split(":")]

    def _overlay(self, id: str, namespace: str) -> Mapping[str, str]:
        point = self.rootfs(id, namespace=namespace)
        for mount in mounts_below(point):
            if mount.point == point and "upperdir" in mount.options:
                return mount.options
        raise LabError(f"container {id} has no overlay mount at {point}")

    def log(self, id: str) -> Path:
        """What the container's first process wrote to its output."""
        return self.state / f"{id}.log"

    def _start(self) -> None:
        self.root.mkdir(parents=True)
        self.run_directory.mkdir(mode=0o711)
        (self.run_directory / "fifo").mkdir()
        (self.state / "owner").write_text(f"{os.getpid()} {started_at(os.getpid())}")
        configuration = self.state / "containerd.toml"
        configuration.write_text(_configure(self.root, self.run_directory, self.address))
        with (self.state / "containerd.log").open("ab") as log:
            self._daemon = subprocess.Popen(
                ["containerd", "--config", str(configuration)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self.address.exists() or self.ctr("version", check=False).returncode:
            if self._daemon.poll() is not None or time.monotonic() > deadline:
                log_end = (self.state / "containerd.log").read_text(errors="replace")[-2000:]
                raise LabError(f"containerd does not start:\n{log_end}")
            time.sleep(0.02)

    def _remove(self) -> None:
        with uninterrupted():
            remove_runtime(self.name)
            if self._daemon:
                self._daemon.wait()


def _configure(root: Path, run_directory: Path, address: Path) -> str:
    disabled = ["io.containerd.grpc.v1.cri", "io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime"]
    return f"""version = 2
root = "{root}"
state = "{run_directory}/state"
disabled_plugins = {json.dumps(disabled)}
[grpc]
  address = "{address}"
[plugins."io.containerd.internal.v1.opt"]
  path = "{run_directory}/opt"
"""


def remove_runtime(name: str) -> None:
    """Ends and removes everything of one runtime, from what lies on the machine alone."""
    state, run_directory = state_dir() / name, Path("/run", name)
    kill_by_argument(str(state / "containerd.toml"))
    kill_by_argument(str(run_directory / "containerd.sock"))
    kill_by_argument(str(state / STORE))  # Podman's monitors, and what each starts when its container ended: it mounts the store
    kill_all(pid for group in find_groups(name) for pid in processes_in(group))
    sockets = [Path(file.read_text().removeprefix("unix://")) for file in run_directory.glob(f"state/{BUNDLES}/*/*/address")]
    for directory in (run_directory, state):
        unmount_below(directory)
        shutil.rmtree(directory, ignore_errors=not directory.exists())
    remove_groups(name)
    for socket in sockets:
        socket.unlink(missing_ok=True)
    for directory in (Path("/run/containerd/s"), Path("/run/containerd"), state.parent):
        with contextlib.suppress(OSError):  # not empty: a runtime of the machine, or another one of ours, lives there
            directory.rmdir()


def remove_abandoned() -> None:
    """Removes what runtimes left whose owner was killed."""
    for owner in state_dir().glob(f"{PREFIX}*/owner"):
        pid, _, started = owner.read_text().partition(" ")
        if not is_alive(int(pid)) or started_at(int(pid)) != started:
            remove_runtime(owner.parent.name)


def find_leftovers(name: str = PREFIX + "*") -> list[str]:
    """Everything of runtimes that is on the machine now: for tests that nothing stays behind."""
    pattern = name.rstrip("*")
    found = [f"mount {mount.point}" for mount in mounts_below(Path("/run")) if pattern in str(mount.point)]
    found += [f"file {path}" for path in (*Path("/run").glob(name), *state_dir().glob(name))]
    found += [f"group {path}" for hierarchy in hierarchies() for path in hierarchy.glob(name)]
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if pattern.encode() in (entry / "cmdline").read_bytes():
                found.append(f"process {entry.name}")
    return found
