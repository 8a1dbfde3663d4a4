"""Which read-only layers were found to be what they should be, and when: kept in a file, so that a restart does not begin anew.

In: a directory, the root of the table that it equalled, and when it began to be read. Out: the same again. Only what was read in full and
had no difference is kept, for as long as `KEPT_S`. A file that cannot be read, or is not ours, is as if there were none: everything is then
read again. The file is believed as the node's own state is: who may write it is root here.
"""

from __future__ import annotations

import json
import threading
from pathlib import Path

import structlog

from intact.adapters.store.atomic import write_atomically
from intact.model.bytestext import escape_bytes, unescape_bytes
from intact.model.errors import IntactError

log = structlog.get_logger()

KEPT_S = 86_400.0
VERSION = 1
MAX_BYTES = 16 << 20


class LayerMemory:
    """`path` is where it is kept. Safe to share between threads."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._read_at: dict[tuple[bytes, str], float] = _load(path)

    def find(self, directory: bytes, root: str, now: float) -> float | None:
        """When `directory` was last read and was what `root` says; None if never, too long ago, or by a clock that was ahead of this."""
        with self._lock:
            at = self._read_at.get((directory, root))
        return at if at is not None and 0 <= now - at < KEPT_S else None

    def note(self, directory: bytes, root: str, at: float) -> None:
        """Keeps it. What cannot be written now is only missed after a restart, and logged."""
        with self._lock:
            self._read_at[directory, root] = at
            self._read_at = {key: when for key, when in self._read_at.items() if at - when < KEPT_S}
            rows = [[escape_bytes(key[0]), key[1], when] for key, when in self._read_at.items()]
        self._write(rows)

    def forget(self, directory: bytes, root: str) -> None:
        """It is not what it should be."""
        with self._lock:
            if self._read_at.pop((directory, root), None) is None:
                return
            rows = [[escape_bytes(key[0]), key[1], when] for key, when in self._read_at.items()]
        self._write(rows)

    def _write(self, rows: list[list[object]]) -> None:
        try:
            write_atomically(self._path, [json.dumps({"version": VERSION, "layers": rows}).encode()], mode=0o600)
        except IntactError as error:
            log.error("layers_not_remembered", reason=str(error))


def _load(path: Path) -> dict[tuple[bytes, str], float]:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ValueError(f"more than {MAX_BYTES} bytes")
        document = json.loads(path.read_bytes())
        if document["version"] != VERSION:
            raise ValueError(f"version {document['version']}")
        return {(unescape_bytes(directory), str(root)): float(at) for directory, root, at in document["layers"]}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, LookupError, TypeError, RecursionError, IntactError) as error:
        log.warning("layer_memory_not_read", path=str(path), reason=str(error))
        return {}
