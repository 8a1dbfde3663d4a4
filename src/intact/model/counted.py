"""What containers of a workload write in a normal life, as numbers: differences that no rule tells, counted by path pattern."""

from __future__ import annotations

from dataclasses import dataclass

from .incident import Workload


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """Differences alike: `count` is the most that one container had of them, `pods` in how many pods they were seen (at least, once it is
    `decide.counted.MAX_PODS`)."""

    rule: str
    pattern: str
    count: int
    pods: tuple[str, ...]
    """The beginnings of the UIDs of those pods."""
    first_at: float
    last_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CountedDrift:
    """All that is counted of one container of a workload, by rule and pattern. `scratch_told_at` is when people were last told of code in
    scratch directories, 0 if never."""

    workload: Workload
    container: str
    image: str
    counted: tuple[Counted, ...] = ()
    scratch_told_at: float = 0.0
