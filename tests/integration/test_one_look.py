"""`intact check` and `intact diff` look once, and say of a container what whoever watches it says: of its files, and of what runs in it."""

from __future__ import annotations

import base64
import importlib.util
import json
import marshal
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab import images, layers
from lab.runtime import Runtime
from tests.integration.watching import Watching, intact

NAME = "docker.io/local/once:1"
TRICKS = Path(__file__).parent.parent / "attack/live_tricks.c"
SOURCE = b"def sell(n: int = 7) -> str:\n    return str(n)\n"
MTIME_S = 1_700_000_000
CACHE = "/srv/app/__pycache__"
CLEAN, FINDINGS = 0, 1
IN_MEMORY = ("/memfd:x", "live", "not-of-the-image-executed")
FORGED = (f"{CACHE}/{importlib.util.cache_from_source('other.py').rpartition('/')[2]}", "drift", "bytecode-forged")
DROPPED = ("/tmp/pauser", "live", "not-of-the-image-executed")
PLANTED = ("/etc/evil.conf", "drift", "control-file-added")


@pytest.fixture(scope="module")
def image(runtime: Runtime, tmp_path_factory: pytest.TempPathFactory) -> None:
    made = tmp_path_factory.mktemp("once")
    subprocess.run(["gcc", "-O1", "-static", "-o", made / "trick", TRICKS], check=True, capture_output=True)
    tricks = (made / "trick").read_bytes()
    programs = [layers.file(b"/bin/trick", tricks, 0o755), layers.file(b"/bin/pauser", tricks, 0o755)]
    sources = [layers.file(b"/srv/app/" + name, SOURCE, mtime_s=MTIME_S) for name in (b"shop.py", b"other.py")]
    runtime.import_image(
        images.busybox_image(made / "image", NAME, files={b"/srv/app/readme": b"shop\n"}, upper_layers=[programs + sources])
    )


@pytest.fixture
def container(runtime: Runtime, image: None, request: pytest.FixtureRequest) -> Iterator[str]:
    id = f"once-{request.node.name[5:20].strip('_')}"
    runtime.run(NAME, id)
    yield id
    runtime.stop(id)


def compile_into(runtime: Runtime, id: str, name: str, source: bytes) -> None:
    """What an interpreter writes beside `name` for `source`, as if it were the image's."""
    header = importlib.util.MAGIC_NUMBER + struct.pack("<III", 0, MTIME_S, len(SOURCE))
    compiled = header + marshal.dumps(compile(source, f"/srv/app/{name}", "exec", dont_inherit=True))
    target = f"{CACHE}/{importlib.util.cache_from_source(name).rpartition('/')[2]}"
    runtime.exec(id, ["sh", "-c", f"mkdir -p {CACHE}; echo {base64.b64encode(compiled).decode()} | base64 -d > {target}"])


def leave_running(runtime: Runtime, id: str, script: str) -> None:
    runtime.exec(id, ["sh", "-c", f"({script}) >/dev/null 2>&1 </dev/null &"])


def check(runtime: Runtime, id: str, code: int) -> set[tuple[str, str, str]]:
    done = intact("check", "--container", id, "--socket", runtime.address, "--output", "json")
    assert done.returncode == code, done.stdout + done.stderr
    return {(row["path"], row["scope"], row["rule"]) for row in json.loads(done.stdout)}


def test_bytecode_that_the_images_source_compiles_to_is_no_finding(runtime: Runtime, container: str) -> None:
    compile_into(runtime, container, "shop.py", SOURCE)
    assert check(runtime, container, CLEAN) == set()
    done = intact("check", "--container", container, "--socket", runtime.address)
    assert "not counted as drift" in done.stderr and "derived-from-image" in done.stderr
    compile_into(runtime, container, "other.py", SOURCE.replace(b"7", b"8"))
    assert check(runtime, container, FINDINGS) == {FORGED}


def test_a_program_in_memory_alone_is_a_finding_and_shown(runtime: Runtime, container: str) -> None:
    leave_running(runtime, container, "exec trick run-in-memory")
    assert check(runtime, container, FINDINGS) == {IN_MEMORY}
    table = intact("check", "--container", container, "--socket", runtime.address).stdout
    assert "/memfd:x" in table and "in memory alone" in table
    done = intact("diff", container, "--socket", runtime.address, "--output", "json")
    ((shown,),) = [one["differences"] for one in json.loads(done.stdout)]
    assert done.returncode == FINDINGS and shown["path"] == "/memfd:x" and "in memory alone" in shown["now"] and shown["process"]
    assert "/memfd:x" in intact("diff", container, "--socket", runtime.address).stdout
    sarif = json.loads(intact("diff", container, "--socket", runtime.address, "--output", "sarif").stdout)
    (result,) = sarif["runs"][0]["results"]
    assert result["ruleId"] == "not-of-the-image-executed" and "in memory alone" in result["message"]["text"]


def test_one_look_says_what_the_watch_says(runtime: Runtime, container: str, tmp_path: Path) -> None:
    everything = {IN_MEMORY, FORGED, DROPPED, PLANTED}
    compile_into(runtime, container, "shop.py", SOURCE)
    compile_into(runtime, container, "other.py", SOURCE.replace(b"7", b"8"))
    runtime.exec(container, ["sh", "-c", "echo x > /etc/evil.conf; cp /bin/pauser /tmp/pauser; echo data > /srv/data.bin"])
    leave_running(runtime, container, "exec trick run-in-memory")
    leave_running(runtime, container, "exec /tmp/pauser")
    told: set[tuple[str, str, str]] = set()
    with Watching(runtime.address, tmp_path / "state") as watch:

        def is_last(line: dict[str, Any]) -> bool:
            if line["type"] == "finding" and line["container"]["id"] == container:
                told.add((line["path"], line["scope"], line["rule"]))
            return told >= everything

        watch.hear(is_last)
        assert check(runtime, container, FINDINGS) == everything
        watch.hear_for(1.0)
    assert told == everything
