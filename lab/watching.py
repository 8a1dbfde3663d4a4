"""`intact watch`, or another process that prints JSON lines, and what it says, line by line with the time it was heard.

In: a command. Out: its lines as they come. Ends the process with the block, and never reads what it logs.
"""

from __future__ import annotations

import json
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from lab.settings import LabError

Line: TypeAlias = dict[str, Any]
PATIENCE_S = 120.0
_LISTEN_S = 1.0


@dataclass(slots=True)
class Watching:
    """A process and its lines; each has `heard_at`, by the monotonic clock."""

    process: subprocess.Popen[bytes]
    log: Path
    _lines: queue.SimpleQueue[Line] = field(default_factory=queue.SimpleQueue)

    @property
    def pid(self) -> int:
        return self.process.pid

    def hear(self, wanted: Callable[[Line], bool]) -> Line:
        """The next line that is wanted; lines before it are about something else. LabError if it does not come, or the process ended."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            is_over = self.process.poll() is not None
            line = self.hear_within(_LISTEN_S, wanted)
            if line is not None:
                return line
            if is_over:
                break
        end = self.log.read_text(errors="replace")[-2000:]
        raise LabError(
            f"what was waited for was not said within {PATIENCE_S:.0f} s, or before the process ended; its log ends with:\n{end}"
        )

    def hear_within(self, seconds: float, wanted: Callable[[Line], bool]) -> Line | None:
        """The next line that is wanted, if it comes within some time."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            try:
                line = self._lines.get(timeout=left)
            except queue.Empty:
                break
            if wanted(line):
                return line
        return None

    def listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            heard_at = time.monotonic()
            self._lines.put({**json.loads(line), "heard_at": heard_at})


@contextmanager
def run_and_listen(command: Sequence[str | Path], log: Path) -> Iterator[Watching]:
    """A process that prints JSON lines; what it says on stderr goes to `log`."""
    with log.open("wb") as errors:
        process = subprocess.Popen([str(word) for word in command], stdout=subprocess.PIPE, stderr=errors, stdin=subprocess.DEVNULL)
    watching = Watching(process, log)
    listener = threading.Thread(target=watching.listen, daemon=True)
    listener.start()
    try:
        yield watching
    finally:
        process.terminate()
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        listener.join(timeout=5)


@contextmanager
def watch(socket: Path, state: Path, *options: str, launcher: Sequence[str] = ()) -> Iterator[Watching]:
    """`intact watch` on the containers of one containerd, started by `launcher` (taskset …) if there is one; its log is
    `state`/watch.log."""
    state.mkdir(parents=True, exist_ok=True)
    intact: list[str | Path] = [
        *launcher,
        sys.executable,
        "-m",
        "intact",
        "watch",
        "--socket",
        socket,
        "--state",
        state,
        "--output",
        "jsonl",
        *options,
    ]
    with run_and_listen(intact, state / "watch.log") as watching:
        yield watching
