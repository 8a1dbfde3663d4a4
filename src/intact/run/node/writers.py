"""Who did what was found, kept on this node's disk: known after a restart too, and to whoever asks on the node (`intact diff`).

In: findings with who did it. Out: who did a finding, by its id: the same difference in the same state of the same container. A path that
was changed again is another finding, and nobody is named for it. Holds no more than the findings of now, at most `MOST`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import structlog

from intact.adapters.codec import decode_all, encode_all
from intact.adapters.store.atomic import write_atomically
from intact.model.errors import IntactError
from intact.model.finding import Finding
from intact.model.process import Writer

log = structlog.get_logger()

FILE = "writers.json"
MOST = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """One finding, and who did it."""

    finding_id: str
    writer: Writer


class WriterMemory:
    """In the directory `state`; one that is damaged is begun anew."""

    def __init__(self, state: Path) -> None:
        self._file = state / FILE
        self._known = _read(self._file)

    def find(self, finding_id: str) -> Writer | None:
        return self._known.get(finding_id)

    def keep(self, findings: Iterable[Finding]) -> None:
        """What is found now; whatever else was kept goes."""
        now = {finding.id: finding.writer for finding in findings if finding.writer is not None}
        now = dict(list(now.items())[:MOST])
        if now == self._known:
            return
        try:
            write_atomically(self._file, [encode_all(Kept(finding_id=id, writer=writer) for id, writer in now.items())], mode=0o600)
        except (OSError, IntactError) as error:
            log.error("writers_not_kept", reason=str(error))
            return
        self._known = now


def _read(file: Path) -> dict[str, Writer]:
    try:
        return {kept.finding_id: kept.writer for kept in decode_all(Kept, file.read_bytes())}
    except FileNotFoundError:
        return {}
    except (OSError, IntactError) as error:
        log.error("writers_not_read", reason=str(error))
        return {}
