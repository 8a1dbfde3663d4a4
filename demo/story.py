"""How the story is told: acts, steps with their times, claims that hold or do not, and a verdict at the end.

A claim is checked where it is made; the exit code is 0 only if every claim held.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

BOLD, DIM, GREEN, RED, PLAIN = "\033[1m", "\033[2m", "\033[32m", "\033[31m", "\033[0m"


class Broken(Exception):
    """The story cannot go on."""


@dataclass(slots=True)
class Story:
    started: float = field(default_factory=time.monotonic)
    held: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    def act(self, title: str) -> None:
        self._say(f"\n{BOLD}{title}{PLAIN}\n{'─' * len(title)}")

    def say(self, text: str) -> None:
        self._say(f"  {text}")

    def show(self, text: str) -> None:
        """Real output of a program, as it is."""
        for line in text.rstrip("\n").splitlines():
            self._say(f"    {DIM}{line}{PLAIN}")

    @contextmanager
    def step(self, text: str) -> Iterator[None]:
        """Something that takes time."""
        self._say(f"  {text} …")
        start = time.monotonic()
        yield
        self._say(f"    {DIM}{time.monotonic() - start:.1f} s{PLAIN}")

    def claim(self, text: str, holds: bool, why_not: str = "") -> None:
        """Something the product promises, checked just now."""
        (self.held if holds else self.failed).append(text)
        mark = f"{GREEN}✔{PLAIN}" if holds else f"{RED}✘{PLAIN}"
        self._say(f"  {mark} {text}" + (f"\n      {RED}{why_not}{PLAIN}" if not holds and why_not else ""))

    def finish(self) -> int:
        """The verdict, and the exit code."""
        took = time.monotonic() - self.started
        self._say(f"\n{BOLD}Verdict{PLAIN}: {len(self.held)} claims held, {len(self.failed)} failed, {took:.0f} s")
        for text in self.failed:
            self._say(f"  {RED}✘ {text}{PLAIN}")
        return 1 if self.failed or not self.held else 0

    @staticmethod
    def _say(text: str) -> None:
        if not sys.stdout.isatty():
            for code in (BOLD, DIM, GREEN, RED, PLAIN):
                text = text.replace(code, "")
        sys.stdout.write(text + "\n")
        sys.stdout.flush()


T = TypeVar("T")


def wait_for(what: str, probe: Callable[[], T | None], timeout_s: float, every_s: float = 0.1) -> T:
    """The first thing `probe` finds. Raises Broken naming `what` after `timeout_s` seconds."""
    deadline = time.monotonic() + timeout_s
    while (found := probe()) is None:
        if time.monotonic() > deadline:
            raise Broken(f"{what}: not within {timeout_s:.0f} s")
        time.sleep(every_s)
    return found
