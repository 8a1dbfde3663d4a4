"""`intact watch`, or another process that prints JSON lines, and what it says, line by line with the time it was heard.

In: a command. Out: its lines as they come. Ends the process with the block, and never reads what it logs but to say why nothing came.
"""

from __future__ import annotations

import json
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self, TypeAlias

from lab.settings import LabError

Line: TypeAlias = dict[str, Any]
INTACT = (sys.executable, "-m", "intact")
PATIENCE_S = 120.0
_LISTEN_S = 1.0
_END_S = 30.0


class Watching:
    """`with Watching(command, log) as watching:`, a process and its lines; each has `heard_at`, by the monotonic clock. What it says on
    stderr is added to `log`."""

    def __init__(self, command: Sequence[str | Path], log: Path, *, patience_s: float = PATIENCE_S) -> None:
        self._command, self._log, self._patience_s = [str(word) for word in command], log, patience_s
        self._lines: queue.SimpleQueue[Line] = queue.SimpleQueue()

    def __enter__(self) -> Self:
        self._log.parent.mkdir(parents=True, exist_ok=True)
        with self._log.open("ab") as log:
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
            self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise
        self._listener.join(5)
        return self._process.returncode

    def hear(self, wanted: Callable[[Line], bool]) -> Line:
        """The next line that is wanted; what came before it is not heard again. LabError if it does not come, or the process ended."""
        deadline = time.monotonic() + self._patience_s
        while time.monotonic() < deadline:
            is_over = self._process.poll() is not None
            line = self.hear_within(_LISTEN_S, wanted)
            if line is not None:
                return line
            if is_over:
                break
        raise LabError(
            f"what was waited for was not said within {self._patience_s:.0f} s, or before the process ended; its log ends with:\n"
            f"{self.talk()}"
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

    def talk(self) -> str:
        """The end of what it says of itself."""
        return self._log.read_text(errors="replace")[-2000:]

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            heard_at = time.monotonic()
            self._lines.put({**json.loads(line), "heard_at": heard_at})


def make_watch_command(socket: Path, state: Path, *options: str) -> list[str | Path]:
    """`intact watch` on the containers of one containerd."""
    return [*INTACT, "watch", "--socket", socket, "--state", state, "--output", "jsonl", *options]


def watch(socket: Path, state: Path, *options: str, launcher: Sequence[str] = ()) -> Watching:
    """It, started by `launcher` (taskset …) if there is one; its log is `state`/watch.log."""
    return Watching([*launcher, *make_watch_command(socket, state, *options)], state / "watch.log")
