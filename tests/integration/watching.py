"""`intact watch` as a real process, and what it says, line by line."""

from __future__ import annotations

import json
import os
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import lab.watching
from lab.watching import INTACT, Line, make_watch_command

PATIENCE_S = 60.0


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


class Watching(lab.watching.Watching):
    """`with Watching(socket, state, *options) as watch:`; its record and its talk stay in `state` for the next one."""

    def __init__(self, socket: Path, state: Path, *options: str) -> None:
        super().__init__(make_watch_command(socket, state, *options), state / "watch.log", patience_s=PATIENCE_S)

    def held(self) -> Held:
        proc = Path("/proc") / str(self.pid)
        pages = int((proc / "statm").read_text().split()[1])
        return Held(len(os.listdir(proc / "fd")), len(os.listdir(proc / "task")), pages * os.sysconf("SC_PAGE_SIZE"))

    def hear_verdict(self, container: str) -> Line:
        """Of a look at its files."""
        return self.hear(lambda line: line["type"] == "verdict" and line["container"]["id"] == container and line["scope"] != "live")

    def hear_finding(self, path: str, change: str = "") -> Line:
        return self.hear(lambda line: line["type"] == "finding" and line["path"] == path and change in ("", line["change"]))

    def hear_for(self, seconds: float) -> list[Line]:
        """Everything that is said within some time."""
        heard, deadline = [], time.monotonic() + seconds
        while (line := self.hear_within(deadline - time.monotonic(), lambda _: True)) is not None:
            heard.append(line)
        return heard


def recorded(state: Path, *kinds: str) -> list[Line]:
    """What the record in `state` holds of these kinds, in its order."""
    wanted = [word for kind in kinds for word in ("--kind", kind)]
    done = intact("audit", "show", "--state", state, "--output", "jsonl", *wanted)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]
