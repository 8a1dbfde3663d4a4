"""Asks another process what a file is made of: the port `observe.ports.Workshop`.

In: bytes and descriptors. Out: what the process says; and where it crashed, took too long or ran out of memory, that it cannot be told.
Each process answers one batch at most, and nothing hostile is parsed in this one.
"""

from __future__ import annotations

import json
import selectors
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import IO

from intact.model.derivation import Derivation, Proof
from intact.model.digest import Digest
from intact.observe.ports import Contents

BATCH_S = 600.0
ANSWER_S = 120.0
"""For a machine that is busy: what an answer may cost in processor time is the other process's to bound."""
MAX_ANSWER_BYTES = 4 << 20
_MODULE = "intact.adapters.provenance.workbench"


class Workshop:
    """One process at a time; `close` from any thread ends it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._is_closed = False

    def recompile(self, pairs: Iterable[tuple[bytes, bytes, str, int, int]]) -> Iterator[Derivation]:
        """Whether each `.pyc` (content, source, name of the source, its mtime in seconds, level of optimisation) is what its source
        compiles to. In order; one that crashes the process is not known, and the next is asked of another process."""
        deadline = time.monotonic() + BATCH_S
        remaining = iter(pairs)
        pair = next(remaining, None)
        while pair is not None:
            with self._start(()) as process:
                while pair is not None:
                    cached, source, name, mtime, optimize = pair
                    request = {"do": "bytecode", "cached": len(cached), "source": len(source), "name": name, "mtime": mtime,
                               "optimize": optimize}  # fmt: skip
                    answer = _ask(process, request, deadline, cached, source)
                    yield _derivation(answer)
                    pair = next(remaining, None)
                    if answer is None:
                        break

    def search(self, descriptor: int, wanted: Sequence[tuple[int, Digest]], algorithm: str) -> Contents | None:
        """What of `wanted` (size, digest) the archive holds, and the sizes of all that it holds; None if it cannot be told."""
        request = {"do": "archive", "descriptor": descriptor, "algorithm": algorithm,
                   "wanted": [(size, digest.hex) for size, digest in wanted]}  # fmt: skip
        with self._start((descriptor,)) as process:
            answer = _ask(process, request, time.monotonic() + BATCH_S)
        if answer is None or not isinstance(answer.get("found"), list):
            return None
        sizes, found = answer["sizes"], answer["found"]
        assert isinstance(sizes, list) and isinstance(found, list)
        return Contents(
            sizes=tuple(map(int, sizes)),
            found=frozenset(Digest(algorithm, bytes.fromhex(value)) for value in found),
            reason=str(answer["reason"]),
        )

    def kill(self) -> None:
        """Ends the process that is at work, if there is one: what it has not answered is not known."""
        with self._lock:
            if self._process is not None:
                self._process.kill()

    def close(self) -> None:
        with self._lock:
            self._is_closed = True
        self.kill()

    @contextmanager
    def _start(self, descriptors: Sequence[int]) -> Iterator[subprocess.Popen[bytes] | None]:
        with self._lock:
            process = None
            if not self._is_closed:
                with suppress(OSError):
                    process = self._process = subprocess.Popen(
                        [sys.executable, "-I", "-B", "-m", _MODULE],
                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, pass_fds=descriptors, cwd="/", env={},
                    )  # fmt: skip
        try:
            yield process
        finally:
            with self._lock:
                self._process = None
            if process is not None:
                _end(process)


def _ask(process: subprocess.Popen[bytes] | None, request: dict[str, object], deadline: float, *parts: bytes) -> dict[str, object] | None:
    """One question, one line; None if the process is gone or does not answer in time."""
    if process is None or process.stdin is None or process.stdout is None or time.monotonic() >= deadline:
        return None
    try:
        process.stdin.write(b"".join((json.dumps(request).encode(), b"\n", *parts)))
        process.stdin.flush()
        line = _read_line(process.stdout, min(deadline, time.monotonic() + ANSWER_S))
        answer = json.loads(line) if line else None
    except (OSError, ValueError):
        return None
    return answer if isinstance(answer, dict) else None


def _read_line(stream: IO[bytes], deadline: float) -> bytes:
    line = bytearray()
    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        while len(line) < MAX_ANSWER_BYTES:
            if not selector.select(max(0.0, deadline - time.monotonic())):
                return b""
            chunk = stream.read1(1 << 16)  # type: ignore[attr-defined]
            if not chunk:
                return b""
            line += chunk
            if line.endswith(b"\n"):
                return bytes(line)
    return b""


def _derivation(answer: dict[str, object] | None) -> Derivation:
    if answer is None:
        return Derivation(proof=Proof.UNKNOWN, reason="checking it took too much time or memory")
    if answer.get("derived") is True:
        return Derivation(proof=Proof.DERIVED, reason="equals a recompile of the image's source")
    if "forged" in answer:
        return Derivation(proof=Proof.FORGED, reason=str(answer["forged"]))
    return Derivation(proof=Proof.UNKNOWN, reason=str(answer.get("unknown", "")))


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            with suppress(OSError):
                stream.close()
    process.wait()
