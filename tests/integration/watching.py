"""`intact watch` as a real process, and what it says, line by line."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

INTACT = (sys.executable, "-m", "intact")
PATIENCE_S = 60.0
Line = dict[str, Any]


def intact(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """`intact` as people run it: to its end, and its exit code is theirs to judge."""
    words = [*INTACT, *map(str, arguments)]
    return subprocess.run(words, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=120)


@dataclass(frozen=True, slots=True)
class Held:
    """What a process holds of the machine."""

    descriptors: int
    threads: int
    memory_bytes: int


class Watching:
    """`with Watching(socket, state, *options) as watch:`; its record and its talk stay in `state` for the next one."""

    def __init__(self, socket: Path, state: Path, *options: str) -> None:
        self._command = [*INTACT, "watch", "--socket", str(socket), "--state", str(state), "--output", "jsonl", *options]
        self._state = state
        self._said: queue.Queue[Line] = queue.Queue()

    def __enter__(self) -> Self:
        self._state.mkdir(parents=True, exist_ok=True)
        with (self._state / "watch.log").open("ab") as log:
            self._process = subprocess.Popen(self._command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log)
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.end(signal.SIGTERM)

    @property
    def pid(self) -> int:
        return self._process.pid

    def end(self, number: signal.Signals) -> int:
        """Ends it by a signal, and says how it ended."""
        if self._process.poll() is None:
            self._process.send_signal(number)
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise
        self._listener.join(5)
        return self._process.returncode

    def hear(self, wanted: Callable[[Line], bool]) -> Line:
        """The next line that is wanted; what came before it is not heard again."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                line = self._said.get(timeout=max(0.0, min(1.0, deadline - time.monotonic())))
            except queue.Empty:
                assert time.monotonic() < deadline and self._process.poll() is None, f"not told; it said:\n{self.talk()}"
                continue
            if wanted(line):
                return line

    def held(self) -> Held:
        proc = Path("/proc") / str(self._process.pid)
        pages = int((proc / "statm").read_text().split()[1])
        return Held(len(os.listdir(proc / "fd")), len(os.listdir(proc / "task")), pages * os.sysconf("SC_PAGE_SIZE"))

    def talk(self) -> str:
        """The end of what it says of itself."""
        return (self._state / "watch.log").read_text(errors="replace")[-2000:]

    def hear_verdict(self, container: str) -> Line:
        """Of a look at its files."""
        return self.hear(lambda line: line["type"] == "verdict" and line["container"]["id"] == container and line["scope"] != "live")

    def hear_finding(self, path: str, change: str = "") -> Line:
        return self.hear(lambda line: line["type"] == "finding" and line["path"] == path and change in ("", line["change"]))

    def hear_for(self, seconds: float) -> list[Line]:
        """Everything that is said within some time."""
        heard, deadline = [], time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            try:
                heard.append(self._said.get(timeout=left))
            except queue.Empty:
                break
        return heard

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._said.put(json.loads(line))


def recorded(state: Path, *kinds: str) -> list[Line]:
    """What the record in `state` holds of these kinds, in its order."""
    wanted = [word for kind in kinds for word in ("--kind", kind)]
    done = intact("audit", "show", "--state", state, "--output", "jsonl", *wanted)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]
