"""The Kubernetes, etcd and helm programs: from a directory the user names, else from the cache, else built. Also a newer container runtime
than the distribution's, for nodes that ask for it.

In: INTACT_KUBE_BIN, the cache, go.mod and go.sum beside build.sh. Out: a directory that has them all, and the pause program.
Never takes a build that did not finish; two builds never run at once.
"""

import contextlib
import fcntl
import hashlib
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from lab.golang import describe_go, ensure_go, go_environment
from lab.processes import run
from lab.progress import step
from lab.settings import REPOSITORY, LabError, cache_dir

SOURCES = REPOSITORY / "lab/kube"
RUNTIME_SOURCES = REPOSITORY / "lab/containerd"
PROGRAMS = (
    "etcd",
    "helm",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-proxy",
    "kube-scheduler",
    "kubectl",
    "kubelet",
)


def find_binaries() -> Path | None:
    """The directory when it is there already, else None."""
    if named := os.environ.get("INTACT_KUBE_BIN"):
        directory = Path(named).absolute()
        if missing := [name for name in PROGRAMS if not os.access(directory / name, os.X_OK)]:
            raise LabError(f"INTACT_KUBE_BIN={named} lacks {', '.join(missing)}: add them, or unset it to have all built")
        return directory
    directory = cache_dir() / f"kube-{_key(SOURCES, ensure_go())}"
    return directory if directory.exists() else None


def ensure_binaries() -> Path:
    """Builds what is missing (6 to 9 minutes on two cores, once), and waits for a build that runs already."""
    if found := find_binaries():
        return found
    with lock("kube"):
        return find_binaries() or _build(SOURCES, "kube", "Kubernetes, etcd and helm")


def ensure_newer_runtime() -> Path:
    """A directory with containerd 2, its shim and client, and runc 1.4: built at the first time (a few minutes)."""
    with lock("containerd"):
        directory = cache_dir() / f"containerd-{_key(RUNTIME_SOURCES, ensure_go())}"
        return directory if directory.exists() else _build(RUNTIME_SOURCES, "containerd", "containerd and runc")


def ensure_pause() -> Path:
    """The static program that holds a pod's namespaces."""
    source = SOURCES / "pause.c"
    directory = cache_dir() / f"pause-{hashlib.sha256(source.read_bytes()).hexdigest()[:16]}"
    if not (directory / "pause").exists():
        with lock("pause"), finished_directory(directory) as partial:
            run("gcc", "-Os", "-static", "-s", "-o", partial / "pause", source)
    return directory / "pause"


def _key(sources: Path, go: Path) -> str:
    """sha256 over go.mod, go.sum, build.sh and the output of `go version`."""
    digest = hashlib.sha256()
    for name in ("go.mod", "go.sum", "build.sh"):
        digest.update((sources / name).read_bytes())
    digest.update(describe_go(go).encode())
    return digest.hexdigest()[:16]


def _build(sources: Path, name: str, title: str) -> Path:
    go = ensure_go()
    target = cache_dir() / f"{name}-{_key(sources, go)}"
    environment = {**go_environment(go), "GOFLAGS": "-v"}  # -v names each package as it is compiled
    compiled = 0
    with step(f"{title}: modules"):
        run(go, "mod", "download", env=environment, cwd=sources)
        packages = len(run(go, "list", "-deps", "tool", env=environment, cwd=sources).stdout.split())
    with finished_directory(target) as partial, step(f"{title}: build", lambda: f"{compiled} of {packages} packages"):
        command = ["bash", str(sources / "build.sh"), str(partial)]
        last: list[str] = []
        build = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True)
        assert build.stderr is not None
        try:
            for line in build.stderr:
                compiled += not line.startswith("go: ")
                last = [*last[-30:], line]
            build.wait()
        except BaseException:
            os.killpg(build.pid, signal.SIGTERM)  # the compilers, too
            build.wait()
            raise
        if build.returncode:
            raise LabError(f"the build of {title} failed:\n{''.join(last)}")
    return target


@contextlib.contextmanager
def finished_directory(target: Path) -> Iterator[Path]:
    """A directory that gets its name only when the block ends well, and has not removed it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=target.name + ".", suffix=".partial", dir=target.parent))
    try:
        yield partial
        if partial.exists() and not target.exists():
            partial.chmod(0o755)
            partial.rename(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


@contextlib.contextmanager
def lock(name: str) -> Iterator[None]:
    cache_dir().mkdir(parents=True, exist_ok=True)
    with (cache_dir() / f"{name}.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            with step(f"waiting for the {name} build of another process"):
                fcntl.flock(file, fcntl.LOCK_EX)
        yield
