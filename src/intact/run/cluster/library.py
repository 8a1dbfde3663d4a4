"""What the cluster flow needs to know of the cluster's own baselines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from intact.model.digest import Digest
from intact.model.layer import Grade


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """A baseline of the cluster, without its content. `algorithms` as `str(Algorithms)`; `signer` is the id of the accepted key that
    signed it, empty where it is the cluster's own work."""

    root: Digest
    algorithms: str
    grade: Grade
    source: str
    signer: str = ""


class BaselineLibrary(Protocol):
    """The cluster's baselines: signed ones that it accepted, and those computed from bytes it verified itself."""

    def known(self, key: Digest) -> Known | None: ...

    def document(self, key: Digest) -> bytes | None: ...

    def withdrawn(self) -> tuple[Digest, ...]:
        """Roots of baselines that nodes may have been given and that the cluster stands for no more."""

    def has_supplied(self, root: Digest) -> bool:
        """Whether nodes may have this root from a baseline that people supplied: then it is not the node's own word."""
