"""What runs from memory, from a tmpfs or as a library is told by the kernel's note of it, however soon it is over.

The beat of the looks at processes is days away in all of this: nothing but the notes leads to what is told.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from intact.adapters.linux.links import TOO_LONG
from intact.observe.flood import FloodGauge
from intact.run.node import live_watch
from lab import images, layers
from lab.runtime import Runtime
from tests.integration.test_flood_and_churn import Listener, wait_for, watched_by

pytestmark = [pytest.mark.usefixtures("root"), pytest.mark.timeout(300)]

NAME = "docker.io/local/in-memory:1"
HERE = Path(__file__).parent

PASSING = {
    "a program in memory": ("timeout 0.1 trick run-in-memory", b"/memfd:x"),
    "a library in memory": ("timeout 0.1 trick map-in-memory", b"/memfd:lib"),
    "a program on a tmpfs": ("cp /bin/pauser /run/p; timeout 0.1 /run/p; rm /run/p", b"/run/p"),
    "a library on a tmpfs": (
        "cp /srv/l.so /run/l.so; LD_PRELOAD=/run/l.so timeout 0.1 dynamic; rm /run/l.so",
        b"/run/l.so",
    ),
    "a library that is preloaded": ("cp /srv/l.so /var/l.so; LD_PRELOAD=/var/l.so timeout 0.1 dynamic", b"/var/l.so"),
    "a library that removes itself": ("cp /srv/l.so /tmp/preload.so; LD_PRELOAD=/tmp/preload.so timeout 0.1 dynamic", b"/tmp/preload.so"),
    "a program given to the loader": ("cp /bin/dynamic /tmp/data; timeout 0.1 LOADER /tmp/data; rm /tmp/data", b"/tmp/data"),
    "a library in a root of its own": ("cp /srv/l.so /jail/l.so; LD_PRELOAD=/l.so timeout 3 chroot /jail /bin/dynamic", b"/jail/l.so"),
    "a program of a file system that is mounted nowhere": ("timeout 0.1 trick run-from-nowhere", b"/nowhere"),
    "a program of a mount that nobody else has": (
        "unshare -m sh -c 'mount -t tmpfs t /srv; cp /bin/pauser /srv/alone; timeout 0.1 /srv/alone'",
        b"/srv/alone",
    ),
    "a program by its descriptor": ("cp /bin/pauser /var/d; timeout 0.1 trick run-by-descriptor /var/d", b"/var/d"),
    "a program on a tmpfs by its descriptor": ("cp /bin/pauser /run/d; timeout 0.1 trick run-by-descriptor /run/d", b"/run/d"),
    "a program too deep to be named": ("mkdir /run/b; timeout 0.1 trick run-too-deep /run/b; rm -r /run/b", TOO_LONG),
    "code that becomes executable after it was mapped": ("cp /bin/pauser /var/late; timeout 0.1 trick map-late", b"/var/late"),
}
"""What is done, and what is told. Seconds are given only to what has to be asked of the process."""
QUIET = (
    "LD_PRELOAD=/srv/l.so timeout 0.1 dynamic",
    "timeout 0.1 trick compile",
    "timeout 0.1 trick compile-in-a-file",
    "touch /lib/extra.so; cp -p /srv/l.so /lib/l.so; LD_PRELOAD=/lib/l.so timeout 0.1 dynamic",
    "timeout 0.1 chroot /jail /bin/dynamic",
    "timeout 0.1 /data/pauser",
    "cp /srv/l.so /data/l.so; LD_PRELOAD=/data/l.so timeout 0.1 dynamic",
)
"""What services do, and runtimes: libraries of the image, also copied up; what a compiler makes; roots and volumes of the configuration."""


def _compile(source: str, target: Path, *options: str) -> bytes:
    subprocess.run(["gcc", "-O1", "-o", target, HERE / source, *options], check=True, capture_output=True)
    return target.read_bytes()


@pytest.fixture(scope="module")
def loader(runtime: Runtime, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Imports the image; returns the path of the dynamic loader in it."""
    made = tmp_path_factory.mktemp("notes")
    tricks, dynamic = _compile("live_tricks.c", made / "trick", "-static"), _compile("live_tricks.c", made / "dynamic")
    library = _compile("live_preload.c", made / "l.so", "-shared", "-fPIC")
    needed: list[str] = re.findall(r"(/\S+) \(0x", subprocess.run(["ldd", made / "dynamic"], capture_output=True, text=True).stdout)
    files = {path.encode(): Path(path).read_bytes() for path in needed}
    files |= {b"/bin/dynamic": dynamic, b"/bin/trick": tricks, b"/bin/pauser": tricks, b"/srv/l.so": library, b"/lib/l.so": library}
    files |= {b"/jail" + path: content for path, content in files.items() if path.startswith((b"/lib", b"/bin/dynamic"))}
    directories = sorted({b"/".join(path.split(b"/")[:end]) for path in files for end in range(2, path.count(b"/") + 1)})
    entries = [*map(layers.directory, directories), *(layers.file(path, content, 0o755) for path, content in files.items())]
    runtime.import_image(images.busybox_image(made / "image", NAME, upper_layers=[entries]))
    return next(path for path in needed if "ld-" in path)


@pytest.fixture(scope="module")
def listener(runtime: Runtime, loader: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Listener]:
    volume = tmp_path_factory.mktemp("volume")
    _compile("live_tricks.c", volume / "pauser", "-static")
    mount = f"type=bind,src={volume},dst=/data,options=rbind:rw"
    runtime.run(NAME, "busy", mounts=[mount], options=["--privileged"])
    runtime.run(NAME, "quiet", mounts=[mount])
    try:
        with pytest.MonkeyPatch.context() as patched, watched_by(runtime.address, volume / "state", FloodGauge()) as listener:
            for id in ("busy", "quiet"):
                wait_for(lambda: listener.has_looked_at_what_runs(id), "nobody looked at what runs")  # noqa: B023
            patched.setattr(live_watch, "SWEEP_S", 1e6)
            yield listener
    finally:
        for id in ("busy", "quiet"):
            runtime.stop(id)


def told(listener: Listener, id: str) -> set[tuple[bytes, str]]:
    verdicts = [verdict for report in listener.reports for verdict in report.verdicts if verdict.container.id == id]
    return {(finding.difference.path, finding.rule) for verdict in verdicts for finding in verdict.findings}


@pytest.mark.parametrize("what", PASSING)
def test_is_told_though_it_is_over_before_anybody_looks(what: str, runtime: Runtime, listener: Listener, loader: str) -> None:
    script, path = PASSING[what]
    runtime.exec("busy", ["sh", "-c", script.replace("LOADER", loader)], check=False)
    wait_for(lambda: (path, "not-of-the-image-executed") in told(listener, "busy"), f"{path!r} is not told")


def test_what_services_and_runtimes_do_is_not_told(runtime: Runtime, listener: Listener) -> None:
    for script in QUIET:
        for _ in range(3):
            runtime.exec("quiet", ["sh", "-c", script], check=False)
    runtime.exec("quiet", ["sh", "-c", "timeout 0.1 trick run-in-memory"], check=False)
    wait_for(lambda: (b"/memfd:x", "not-of-the-image-executed") in told(listener, "quiet"), "nothing is told")
    assert {path for path, rule in told(listener, "quiet") if rule == "not-of-the-image-executed"} == {b"/memfd:x"}
