"""When the differences of a writable layer were made, and what a small text is whatever the order of its lines.

In: findings about a writable layer, its upper directory as a `Tree`, the image's baseline, and what was said of it before. Out: the same
findings, dated. What cannot be dated stays at 0.0, which nobody takes for early. Never believes a time that a container can set.

1. What is there was made at its ctime, and put there no earlier than the directories above it that the image does not have: renaming a
   directory moves everything below it and changes nothing but the directory. What was dated before and is the same with an untouched inode
   keeps its dates: the directory changes as well with every other name that comes and goes in it. What was there and is gone meanwhile, a
   lock or a container that is being removed, keeps its dates if it was dated before, as it is; else it was made no later than the
   directory it was in changed.
2. What is gone went no later than the ctime of its whiteout and than that of the directory around it. Whiteouts are hard links of one
   inode: each further deletion moves the ctime of all, so that the earliest time that was ever said holds.
3. What is hidden by an opaque directory, or by something that is no directory, went no later than that was made.
4. A regular file that is text is also told by the set of its lines, from a budget.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from intact.model.digest import Digest
from intact.model.entry import Entry, Kind, ancestors, parent
from intact.model.finding import Finding
from intact.model.layer import Baseline

from .ports import Node, Tree

TEXT_BYTES = 1 << 20
"""The largest file whose lines are told."""
TEXT_LINES = 20_000
"""And how many: each is an object of its own while they are sorted."""
TEXTS_BYTES = 16 << 20
"""What one look reads for lines at most; beyond it a text is told by its digest alone."""


def date_findings(tree: Tree, baseline: Baseline, findings: Iterable[Finding], known: Mapping[str, Finding]) -> tuple[Finding, ...]:
    """`findings` with `changed_at` and `lines`. `known` are those that were dated before, by id."""
    findings = tuple(findings)
    seen = _see(tree, baseline, findings, known)
    return tuple(_date(finding, seen, known.get(finding.id)) for finding in findings)


def digest_lines(data: bytes) -> Digest | None:
    """SHA-256 over the different lines of a text in order of their bytes, each with its length before it; None for what is no text, or
    has too many lines."""
    if b"\0" in data or data.count(b"\n") > TEXT_LINES:
        return None
    hasher = hashlib.sha256(b"intact lines v1\0")
    for line in sorted(set(data.removesuffix(b"\n").split(b"\n"))):
        hasher.update(len(line).to_bytes(4, "big") + line)
    return Digest("sha256", hasher.digest())


@dataclass(slots=True)
class _Seen:
    """What there is of the wanted paths: when each name and the directories above it were made, and the lines of texts."""

    changed_at: dict[bytes, float] = field(default_factory=dict)
    foreign: set[bytes] = field(default_factory=set)
    """Directories that are not the image's own: whoever renames one moves all that is in it."""
    whiteouts: set[bytes] = field(default_factory=set)
    unobserved: set[bytes] = field(default_factory=set)
    lines: dict[bytes, Digest] = field(default_factory=dict)


def _see(tree: Tree, baseline: Baseline, findings: Sequence[Finding], known: Mapping[str, Finding]) -> _Seen:
    seen, left = _Seen(), TEXTS_BYTES
    wanted = {finding.difference.path: finding for finding in findings}
    for found in tree.visit(wanted):
        if not isinstance(found, Node):
            seen.unobserved.add(found.path)
            continue
        path, changed_at = found.entry.path, found.identity[4] / 1e9
        seen.changed_at[path] = changed_at
        if found.entry.kind is Kind.CHAR and found.entry.device == (0, 0):
            seen.whiteouts.add(path)
        elif found.entry.kind is Kind.DIRECTORY and _is_foreign(found, baseline):
            seen.foreign.add(path)
        finding = wanted.get(path)
        if finding is None or not _is_small(finding.difference.actual, found):
            continue
        before = known.get(finding.id)
        if before is not None and before.changed_at >= changed_at and before.lines is not None:
            seen.lines[path] = before.lines
        elif found.entry.size_bytes <= left:  # 4
            left -= found.entry.size_bytes
            data = tree.head(found, found.entry.size_bytes + 1)
            lines = digest_lines(data) if isinstance(data, bytes) and len(data) == found.entry.size_bytes else None
            if lines is not None:
                seen.lines[path] = lines
    return seen


def _is_foreign(found: Node, baseline: Baseline) -> bool:
    expected = baseline.find(found.entry.path)
    return expected is None or expected.kind is not Kind.DIRECTORY or found.overlay.get(b"opaque") == b"y"


def _is_small(actual: Entry | None, found: Node) -> bool:
    is_file = actual is not None and actual.kind is Kind.FILE and found.entry.kind is Kind.FILE
    return is_file and actual is not None and actual.digest is not None and found.entry.size_bytes == actual.size_bytes <= TEXT_BYTES


def _date(finding: Finding, seen: _Seen, before: Finding | None) -> Finding:
    path = finding.difference.path
    if finding.difference.actual is not None:
        is_gone = path not in seen.changed_at and path not in seen.unobserved
        if is_gone and before is not None and before.difference == finding.difference:
            return replace(finding, changed_at=before.changed_at, placed_at=before.placed_at, lines=before.lines)
        at = _date_above(path, seen) if is_gone else seen.changed_at.get(path, 0.0)
        placed_at = max((seen.changed_at[above] for above in ancestors(path) if above in seen.foreign), default=0.0)  # 1
        if before is not None and 0.0 < at <= before.changed_at:
            placed_at = min(placed_at, before.placed_at)
        return replace(finding, changed_at=at, placed_at=placed_at, lines=seen.lines.get(path))
    if path in seen.whiteouts:  # 2
        changed_at = min(seen.changed_at[path], seen.changed_at.get(parent(path), seen.changed_at[path]))
    else:  # 3
        changed_at = _date_above(path, seen)
    if before is not None and before.changed_at:
        changed_at = min(changed_at, before.changed_at) if changed_at else before.changed_at
    return replace(finding, changed_at=changed_at)


def _date_above(path: bytes, seen: _Seen) -> float:
    """When the nearest directory above that is there changed; 0.0 if none is."""
    return next((seen.changed_at[above] for above in ancestors(path) if above in seen.changed_at), 0.0)
