"""The harness's container runtime runs containers, and leaves nothing on the machine however it ends."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lab.images import busybox_image
from lab.runtime import Runtime, find_leftovers, remove_abandoned
from lab.settings import REPOSITORY

IMAGE = "docker.io/local/leftovers:1"

OWNER = f"""
import sys, time
from pathlib import Path
from lab.images import busybox_image
from lab.runtime import Runtime
with Runtime() as runtime:
    runtime.import_image(busybox_image(Path(sys.argv[1]), "{IMAGE}"))
    runtime.run("{IMAGE}", "left")
    print(runtime.name, flush=True)
    time.sleep(60)
"""


def start_owner(directory: Path) -> tuple[subprocess.Popen[str], str]:
    """Another process that owns a runtime with one running container, and that runtime's name."""
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    words = [sys.executable, "-c", OWNER, str(directory)]
    owner = subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert owner.stdout is not None
    return owner, owner.stdout.readline().strip()


def test_a_container_runs_and_its_writable_layer_shows_what_it_writes(runtime: Runtime, layout_directory: Path) -> None:
    image = busybox_image(layout_directory, "docker.io/local/writes:1", files={b"/srv/a": b"from the image\n"})
    assert runtime.import_image(image) == ["docker.io/local/writes:1"]
    runtime.run("docker.io/local/writes:1", "writes")
    try:
        assert runtime.exec("writes", ["cat", "/srv/a"]).stdout == "from the image\n"
        runtime.exec("writes", ["sh", "-c", "echo mine > /srv/a"])
        assert (runtime.upper("writes") / "srv/a").read_text() == "mine\n"
        assert runtime.exec("writes", ["false"], check=False).returncode == 1
    finally:
        runtime.stop("writes")
    assert not runtime.bundle("writes").exists()


def test_nothing_is_left_after_the_end(root: None, layout_directory: Path) -> None:
    with Runtime() as own:
        own.import_image(busybox_image(layout_directory, IMAGE))
        own.run(IMAGE, "left")
        assert any(found.startswith("mount") for found in find_leftovers(own.name))
    assert find_leftovers(own.name) == []


def test_nothing_is_left_after_an_exception(root: None, layout_directory: Path) -> None:
    with pytest.raises(ZeroDivisionError), Runtime() as own:
        own.import_image(busybox_image(layout_directory, IMAGE))
        own.run(IMAGE, "left")
        raise ZeroDivisionError
    assert find_leftovers(own.name) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_nothing_is_left_after_a_signal(root: None, layout_directory: Path, number: signal.Signals) -> None:
    owner, name = start_owner(layout_directory)
    assert find_leftovers(name)
    owner.send_signal(number)
    owner.wait(timeout=20)
    assert find_leftovers(name) == []


def test_what_a_killed_owner_left_is_removed_by_the_next_runtime(root: None, layout_directory: Path) -> None:
    owner, name = start_owner(layout_directory)
    owner.kill()
    owner.wait()
    assert any(found.startswith("process") for found in find_leftovers(name))
    remove_abandoned()
    assert find_leftovers(name) == []


def test_a_runtime_that_cannot_start_leaves_nothing(root: None, monkeypatch: pytest.MonkeyPatch) -> None:
    own = Runtime()
    monkeypatch.setattr("lab.runtime._configure", lambda *_: "this is not TOML")
    with pytest.raises(Exception, match="containerd does not start"):
        own.__enter__()
    assert find_leftovers(own.name) == []


def test_starting_and_ending_is_quick(root: None) -> None:
    began = time.monotonic()
    with Runtime():
        pass
    assert time.monotonic() - began < 5
