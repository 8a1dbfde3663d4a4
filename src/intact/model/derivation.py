"""Where an added file comes from, as far as that can be proved."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Proof(StrEnum):
    DERIVED = "derived"
    """Everything it holds follows from files of the image."""
    FORGED = "forged"
    """It claims to come from a file of the image, and does not."""
    UNKNOWN = "unknown"
    """It cannot be told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Derivation:
    """What is known of where a file's content comes from; `reason` is for people."""

    proof: Proof
    reason: str = ""
