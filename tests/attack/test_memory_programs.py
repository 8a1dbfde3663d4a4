"""A program in memory is looked for when it begins, not only on the beat of the looks."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from intact.observe.flood import FloodGauge
from intact.run.node import live_watch
from lab import images, layers
from lab.runtime import Runtime
from tests.integration.test_flood_and_churn import wait_for, watched_by

pytestmark = [pytest.mark.usefixtures("root"), pytest.mark.timeout(300)]

NAME = "docker.io/local/in-memory:1"
TRICKS = Path(__file__).with_name("live_tricks.c")


def test_a_program_in_memory_is_found_long_before_the_next_beat(runtime: Runtime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The beat is days away: nothing but the kernel's note of the execution leads to this look."""
    monkeypatch.setattr(live_watch, "SWEEP_S", 1e6)
    subprocess.run(["gcc", "-O1", "-static", "-o", tmp_path / "trick", TRICKS], check=True, capture_output=True)
    program = (tmp_path / "trick").read_bytes()
    tricks = [layers.file(path, program, 0o755) for path in (b"/bin/pauser", b"/bin/trick")]
    runtime.import_image(images.busybox_image(tmp_path / "image", NAME, upper_layers=[tricks]))
    runtime.run(NAME, "resident")
    try:
        with watched_by(runtime.address, tmp_path / "state", FloodGauge()) as listener:
            wait_for(lambda: listener.has_looked_at_what_runs("resident"), "nobody looked at what runs")
            for _ in range(3):  # as probes do
                runtime.exec("resident", ["true"])
            runtime.exec("resident", ["sh", "-c", "trick run-in-memory >/dev/null 2>&1 </dev/null &"])
            wait_for(lambda: listener.has_found("resident", b"/memfd:x"), "it is not found")
    finally:
        runtime.stop("resident")
