"""What never reaches the writable layer, done by real containers under `intact watch`: each is told, and what only looks alike is not.

One container for each attack, all at the same time: what runs is looked at every ten seconds, and some of it is believed only when it was
seen twice.
"""

from __future__ import annotations

import contextlib
import re
import subprocess
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from intact.adapters.linux.links import TOO_LONG
from lab import images, layers
from lab.runtime import Runtime
from lab.watching import Line
from tests.integration.watching import Watching

pytestmark = [pytest.mark.usefixtures("root"), pytest.mark.timeout(300)]

NAME = "docker.io/local/live:1"
HERE = Path(__file__).parent
PATIENCE_S = 120.0

ORDINARY = {
    "memfd": "exec trick run-in-memory",
    "memfd-without-head": "exec trick run-in-memory-without-head",
    "memfd-library": "exec trick map-in-memory",
    "tmpfs": "cp /bin/pauser /run/pauser && exec /run/pauser",
    "too-deep": "exec trick run-too-deep /run",
    "dropped": "cp /bin/pauser /tmp/pauser && chmod 0755 /tmp/pauser && exec /tmp/pauser",
    "renamed-copy": "cp /bin/busybox /var/sleep && exec /var/sleep 600",
    "dropped-and-deleted": "cp /bin/pauser /tmp/x; /tmp/x & sleep 1; rm /tmp/x; wait",
    "loader": "cp /bin/dynamic /tmp/data; chmod 0644 /tmp/data; exec LOADER /tmp/data",
    "preload": "cp /srv/preload.so /tmp/preload.so; LD_PRELOAD=/tmp/preload.so exec /bin/dynamic",
    "library-deleted": "cp /srv/preload.so /tmp/lib.so; exec trick map-deleted",
    "jail": "mkdir -p /jail/bin; cp /bin/pauser /jail/bin/; exec chroot /jail /bin/pauser",
    "private-mounts": "exec unshare -Urm pauser",
    "private-user": "exec unshare -U pauser",
}
"""In a container as everybody has it: what its processes do."""
PRIVILEGED = {
    "bind-over": "touch /run/evil; mount --bind /run/evil /etc/passwd",
    "tmpfs-over": "mount -t tmpfs evil /srv",
    "overlay-over": "mkdir /run/u /run/w; mount -t overlay x -o lowerdir=/bin,upperdir=/run/u,workdir=/run/w /bin",
    "over-the-root-of-a-volume": "mount -t tmpfs evil /data",
    "remounted": "mount -o remount,exec,suid /dev/shm",
    "unmounted": "umount /data",
    "exchanged": "umount /data; mount -t tmpfs evil /data",
    "private-over": "exec unshare -m sh -c 'mount -t tmpfs evil /etc; exec pauser'",
    "thread-over": "exec trick mount-in-a-thread",
    "pivot": "exec unshare -m sh -c 'mount -t tmpfs t /run; mkdir /run/old /run/bin; cp /bin/pauser /run/bin/; cd /run;"
    " pivot_root . old; exec /bin/pauser'",
}
EXPECTED = {
    "memfd": {("/memfd:x", "not-of-the-image-executed")},
    "memfd-without-head": {("/memfd:x", "not-of-the-image-executed")},
    "memfd-library": {("/memfd:lib", "not-of-the-image-executed")},
    "tmpfs": {("/run/pauser", "not-of-the-image-executed")},
    "too-deep": {(TOO_LONG.decode(), "not-of-the-image-executed")},
    "dropped": {("/tmp/pauser", "not-of-the-image-executed")},
    "renamed-copy": {("/var/sleep", "not-of-the-image-executed")},
    "dropped-and-deleted": {("/tmp/x", "not-of-the-image-executed")},
    "loader": {("/tmp/data", "not-of-the-image-executed")},
    "preload": {("/tmp/preload.so", "not-of-the-image-executed")},
    "library-deleted": {("/tmp/lib.so", "not-of-the-image-executed")},
    "jail": {("/jail/bin/pauser", "not-of-the-image-executed"), ("/jail/bin/pauser", "root-changed")},
    "private-mounts": {("/bin/pauser", "foreign-namespace")},
    "private-user": {("/bin/pauser", "foreign-namespace")},
    "init-replaced": {("/tmp/pauser", "init-replaced")},
    "bind-over": {("/etc/passwd", "mounted-over")},
    "tmpfs-over": {("/srv", "mounted-over")},
    "overlay-over": {("/bin", "mounted-over")},
    "over-the-root-of-a-volume": {("/data", "mounted-over")},
    "remounted": {("/dev/shm", "remounted")},
    "unmounted": {("/data", "unmounted")},
    "exchanged": {("/data", "mounted-over")},
    "private-over": {("/bin/pauser", "foreign-namespace"), ("/etc", "mounted-over")},
    "thread-over": {("/bin/trick", "foreign-namespace"), ("/srv", "mounted-over")},
    "pivot": {("/bin/pauser", "foreign-namespace")},
}
QUIET = {
    "compiles": "exec trick compile",
    "locked-in": "exec trick lock-in",
    "copied-up": "touch /bin/pauser; chmod 0755 /bin/pauser; exec pauser",
    "upgraded": "pauser & sleep 1; cp /bin/pauser /tmp/p; rm /bin/pauser; cp -p /tmp/p /bin/pauser; rm /tmp/p; wait",
    "runs-a-volume": "exec /data/pauser",
}
"""What services do in a normal life."""


def _compile(source: Path, target: Path, *options: str) -> bytes:
    subprocess.run(["gcc", "-O1", "-o", target, source, *options], check=True, capture_output=True)
    return target.read_bytes()


@pytest.fixture(scope="module")
def loader(runtime: Runtime, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Imports the image; returns the path of the dynamic loader in it."""
    made = tmp_path_factory.mktemp("live")
    tricks = _compile(HERE / "live_tricks.c", made / "trick", "-static")
    dynamic = _compile(HERE / "live_tricks.c", made / "dynamic")
    preload = _compile(HERE / "live_preload.c", made / "preload.so", "-shared", "-fPIC")
    said = subprocess.run(["ldd", made / "dynamic"], capture_output=True, text=True, check=True).stdout
    needed: list[str] = re.findall(r"(/\S+) \(0x", said)
    programs = {b"/bin/trick": tricks, b"/bin/pauser": tricks, b"/bin/dynamic": dynamic}
    entries = [layers.file(path, content, 0o755) for path, content in programs.items()]
    libraries = {path.encode(): Path(path).read_bytes() for path in needed}
    entries += [layers.file(path, content, 0o755) for path, content in libraries.items()]
    files = {b"/srv/preload.so": preload, b"/srv/empty/.keep": b"", b"/data/.keep": b""}
    parents = sorted({b"/".join(path.split(b"/")[:end]) for path in libraries for end in range(2, path.count(b"/") + 1)})
    entries = [*(layers.directory(parent) for parent in parents), *entries]
    runtime.import_image(images.busybox_image(made / "image", NAME, files=files, upper_layers=[entries]))
    return next(path for path in needed if "ld-" in path)


@pytest.fixture(scope="module")
def volume(tmp_path_factory: pytest.TempPathFactory, loader: str) -> Path:
    directory = tmp_path_factory.mktemp("volume")
    _compile(HERE / "live_tricks.c", directory / "pauser", "-static")
    return directory


@contextlib.contextmanager
def _started(runtime: Runtime, volume: Path, ids: list[str], *options: str) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        for id in ids:
            runtime.run(NAME, id, mounts=[f"type=bind,src={volume},dst=/data,options=rbind:rw"], options=options)
            stack.callback(runtime.stop, id)
        yield


def _do(runtime: Runtime, id: str, script: str) -> None:
    """Leaves it running."""
    runtime.exec(id, ["sh", "-c", f"({script}) >/dev/null 2>&1 </dev/null &"])


def _gather(watch: Watching, wanted: set[str]) -> dict[str, list[Line]]:
    """Everything told of what runs and is mounted, until all `wanted` were told of as expected."""
    told: dict[str, list[Line]] = defaultdict(list)
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        for line in watch.hear_for(1.0):
            if line["type"] == "finding" and line["scope"] == "live":
                told[line["container"]["id"]].append(line)
        if all({(line["path"], line["rule"]) for line in told[id]} >= EXPECTED[id] for id in wanted):
            break
    return told


@pytest.fixture(scope="module")
def told(runtime: Runtime, loader: str, volume: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, list[Line]]]:
    ordinary, privileged = [*ORDINARY, *QUIET], [*PRIVILEGED]
    replaced = "while [ ! -e /tmp/go ]; do sleep 0.2; done; cp /bin/pauser /tmp/pauser; exec /tmp/pauser"
    with (
        _started(runtime, volume, ordinary),
        _started(runtime, volume, privileged, "--privileged"),
        Watching(runtime.address, tmp_path_factory.mktemp("watch")) as watch,
    ):
        runtime.run(NAME, "init-replaced", ["sh", "-c", replaced])
        try:
            waiting = {*ordinary, *privileged, "init-replaced"}
            deadline = time.monotonic() + PATIENCE_S
            while waiting:
                assert time.monotonic() < deadline, f"nothing told of {waiting}: {watch.talk()}"
                line = watch.hear(lambda line: line["type"] == "verdict" and line["scope"] == "live")
                assert line["state"] == "Intact", line
                waiting.discard(line["container"]["id"])
            for id, script in (ORDINARY | PRIVILEGED | QUIET).items():
                _do(runtime, id, script.replace("LOADER", loader))
            runtime.exec("init-replaced", ["touch", "/tmp/go"])
            found = _gather(watch, set(EXPECTED))
            for id in QUIET:  # a probe is a process of the runtime on its way into the container
                runtime.exec(id, ["sh", "-c", "sleep 0.1"])
            for line in watch.hear_for(12.0):
                if line["type"] == "finding" and line["scope"] == "live":
                    found[line["container"]["id"]].append(line)
            yield found
        finally:
            runtime.stop("init-replaced")


@pytest.mark.parametrize("attack", EXPECTED)
def test_is_told(attack: str, told: dict[str, list[Line]]) -> None:
    found = {(line["path"], line["rule"]) for line in told[attack]}
    assert found >= EXPECTED[attack]
    for line in told[attack]:
        assert line["change"] == ("Mounted" if line["rule"] in ("mounted-over", "remounted", "unmounted") else "Executed")
        assert line["reason"] and line["level"] in ("Low", "Medium", "High", "Critical")


@pytest.mark.parametrize("service", QUIET)
def test_is_not_told(service: str, told: dict[str, list[Line]]) -> None:
    assert told[service] == []


def test_a_mount_is_told_with_its_source_and_its_file_system(told: dict[str, list[Line]]) -> None:
    (line,) = [line for line in told["tmpfs-over"] if line["path"] == "/srv"]
    assert line["reason"].startswith("tmpfs from evil (") and line["level"] == "High"


def test_the_program_is_named_by_its_bytes_and_its_process_not_by_what_it_calls_itself(told: dict[str, list[Line]]) -> None:
    (line,) = {line["id"]: line for line in told["memfd"]}.values()
    assert line["actual"]["digest"].startswith("sha256:") and "kworker" not in line["process"] and "pid " in line["process"]
