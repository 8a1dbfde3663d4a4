"""What is put into the volumes of real containers under `intact watch`: told where the policy asks for volumes, and only there."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from intact.adapters.linux.volumes import HostVolumes
from intact.model.container import Container, DeclaredMount, Mounted, Running
from lab import images
from lab.runtime import Runtime
from lab.watching import Line
from tests.integration.watching import Watching

pytestmark = [pytest.mark.usefixtures("root"), pytest.mark.timeout(300)]

NAME = "docker.io/local/volumes:1"
PATIENCE_S = 60.0
SILENT_S = 12.0
POLICY = """
apiVersion: intact.dev/v1alpha1
kind: ClusterIntegrityPolicy
metadata: {name: volumes}
spec:
  watch: {volumes: true, interval: 1s}
"""
ELF = "cp /bin/busybox"


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("policy") / "volumes.yaml"
    path.write_text(POLICY)
    return path


@pytest.fixture
def volume(runtime: Runtime, tmp_path: Path) -> Iterator[Path]:
    """Of a container `box`, at /data; what is there when it is created was put there by others."""
    runtime.import_image(images.busybox_image(tmp_path / "image", NAME))
    directory, fixed = tmp_path / "volume", tmp_path / "fixed"
    for made in (directory, fixed):
        made.mkdir()
        (made / "tool").write_text("#!/bin/sh\n")
        (made / "tool").chmod(0o755)
    volumes = [f"type=bind,src={directory},dst=/data,options=rbind:rw", f"type=bind,src={fixed},dst=/fixed,options=rbind:ro"]
    runtime.run(NAME, "box", mounts=volumes)
    yield directory
    runtime.stop("box")


def _sh(runtime: Runtime, script: str) -> None:
    runtime.exec("box", ["sh", "-ec", script])


def _begin(watch: Watching) -> None:
    line = watch.hear(lambda line: line["type"] == "verdict" and line["scope"] == "live")
    assert line["state"] == "Intact", line


def _told(lines: list[Line]) -> set[tuple[str, str, str]]:
    return {(line["path"], line["rule"], line["level"]) for line in lines if line["type"] == "finding"}


def _gather(watch: Watching, count: int) -> list[Line]:
    """What is told until `count` paths are, and a while longer."""
    lines: list[Line] = []
    deadline = time.monotonic() + PATIENCE_S
    while len({line["path"] for line in lines}) < count:
        assert time.monotonic() < deadline, lines
        lines += [line for line in watch.hear_for(1.0) if line["type"] == "finding"]
    return lines + [line for line in watch.hear_for(SILENT_S) if line["type"] == "finding"]


def test_a_program_put_into_a_volume_is_told_though_nobody_runs_it(runtime: Runtime, volume: Path, policy: Path, tmp_path: Path) -> None:
    with Watching(runtime.address, tmp_path / "state", "--policy", str(policy)) as watch:
        _begin(watch)
        _sh(runtime, f"{ELF} /data/tool2; {ELF} /data/lib.so; chmod 0644 /data/lib.so; {ELF} /data/su; chmod 4755 /data/su")
        _sh(runtime, "echo 'echo evil' >> /data/tool; mkdir -p /data/a/b; printf '#!/bin/sh\\n' > /data/a/b/job; chmod +x /data/a/b/job")
        _sh(runtime, "echo data > /data/data; ln -s /bin/busybox /data/link; mkfifo /data/f")
        wanted = {("/data/" + name, "added-to-volume", "Medium") for name in ("tool", "tool2", "lib.so", "a/b/job")}
        wanted.add(("/data/su", "added-to-volume", "High"))
        lines = _gather(watch, len(wanted))
        assert _told(lines) == wanted, "data, links, pipes and what was there before are not"
        assert all(line["change"] == "Added" and line["actual"]["digest"].startswith("sha256:") for line in lines)


def test_a_volume_tells_nothing_of_the_host_and_keeps_nobody_waiting(runtime: Runtime, volume: Path, policy: Path, tmp_path: Path) -> None:
    """Links out of it, a name that is no text, a tree as deep as it goes, a file of a terabyte without bytes."""
    secret = tmp_path / "secret"
    secret.write_text("#!/bin/sh\n")
    secret.chmod(0o755)
    with Watching(runtime.address, tmp_path / "state", "--policy", str(policy)) as watch:
        _begin(watch)
        _sh(runtime, f"ln -s {secret} /data/out; ln -s / /data/root; ln -s ../../../../.. /data/up")
        _sh(runtime, "i=0; cd /data; while [ $i -lt 300 ]; do mkdir d; cd d; i=$((i+1)); done; printf '#!/bin/sh\\n' > x; chmod +x x")
        _sh(runtime, f"truncate -s 1024G /data/huge; chmod +x /data/huge; {ELF} \"$(printf '/data/\\377x')\"")
        lines = _gather(watch, 3)
        assert {line["path"] for line in lines} == {"/data" + "/d" * 300 + "/x", "/data/huge", "/data/\\xffx"}
        (huge,) = [line for line in lines if line["path"] == "/data/huge"]
        assert "digest" not in huge["actual"], "what was not read has no hash"


def test_nobody_searches_volumes_unasked(runtime: Runtime, volume: Path, tmp_path: Path) -> None:
    with Watching(runtime.address, tmp_path / "state") as watch:
        _begin(watch)
        _sh(runtime, f"{ELF} /data/tool2")
        assert _told(watch.hear_for(SILENT_S)) == set()


DEAD_SERVER = """
import ctypes, os, sys
device = os.open("/dev/fuse", os.O_RDWR)
options = b"fd=%d,rootmode=40000,user_id=0,group_id=0" % device
assert ctypes.CDLL(None).mount(b"dead", os.fsencode(sys.argv[1]), b"fuse", 0, options) == 0
print("mounted", flush=True)
sys.stdin.read()
"""
"""Mounts a file system whose server answers nothing: whoever asks for a name there waits for ever (fuse(4))."""


def test_a_volume_whose_server_never_answers_is_said_not_to_be_searched(root: None, tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    command = ["unshare", "--mount", sys.executable, "-c", DEAD_SERVER, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None and process.stdout is not None
        assert process.stdout.readline() == b"mounted\n"
        for target in (os.fsencode(tmp_path), os.fsencode(tmp_path / "below")):
            volume = DeclaredMount(target=target, kind="bind", options=("rbind", "rw"))
            mounted = Mounted(upper=b"/", lowers=(), device=os.stat("/").st_dev, mounts=(volume,))
            container = Container(id="c", name="c", image="image", image_key=None, node="n1")
            look = HostVolumes(time.time).look(Running(container=container, init_pid=process.pid, mounted=mounted), lambda: None)
            assert look is not None and look.brought == ()
            (unobserved,) = look.unobserved
            assert unobserved.path == target and "fuse" in unobserved.reason
        process.stdin.close()
