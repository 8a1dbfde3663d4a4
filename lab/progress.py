"""Says on stderr that a long step is alive.

In: a title and, now and then, how far it is. Out: one line that renews itself on a terminal, else a line every 15 s. Never on stdout.
"""

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator

TERMINAL_EVERY_S, LOG_EVERY_S = 0.5, 15.0


@contextlib.contextmanager
def step(title: str, describe: Callable[[], str] = lambda: "") -> Iterator[None]:
    """Inside, `describe()` is asked regularly for a few words; at the end the time it took is shown."""
    began, ended = time.monotonic(), threading.Event()
    terminal = sys.stderr.isatty()

    def show() -> None:
        while not ended.wait(TERMINAL_EVERY_S if terminal else LOG_EVERY_S):
            _print(f"{title} … {_minutes(time.monotonic() - began)} {describe()}".rstrip(), terminal, end="")

    if not terminal:
        _print(f"{title} …", terminal, end="\n")
    ticker = threading.Thread(target=show, daemon=True)
    ticker.start()
    word = "failed"
    try:
        yield
        word = "done"
    finally:
        ended.set()
        ticker.join()
        _print(f"{title}: {word} in {_minutes(time.monotonic() - began)}", terminal, end="\n")


def _print(text: str, terminal: bool, *, end: str) -> None:
    if terminal:
        sys.stderr.write(f"\r\x1b[K{text}{end}")
    else:
        sys.stderr.write(text + "\n")
    sys.stderr.flush()


def _minutes(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 60 else f"{int(seconds) // 60} min {int(seconds) % 60} s"
