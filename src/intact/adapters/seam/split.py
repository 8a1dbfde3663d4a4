"""Reports of a size the cluster takes: a larger one becomes several, and what fits in none is told as a number."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from intact.adapters import codec
from intact.adapters.codec import encode
from intact.model.errors import InputError
from intact.model.finding import Aggregate, Verdict
from intact.model.seam import Report

MAX_REPORT_BYTES = codec.MAX_BYTES
"""Of one encoded report: more is refused by the cluster, so the node splits before it spools."""
TOO_LARGE = "report-too-large"
"""The rule named by the aggregate that stands for findings that fit in no report."""


def split(report: Report, max_bytes: int) -> tuple[Report, ...]:
    """`report` in parts whose encodings have at most `max_bytes` bytes; one that fits is its only part and keeps its id.

    1. The first part keeps coverage, gaps and outcomes. 2. Verdicts stay whole and in order. 3. A verdict that is too large alone keeps its
    most severe findings; the others become one Aggregate with their count. Raises InputError if the first part cannot fit.
    """
    if len(encode(report)) <= max_bytes:
        return (report,)
    # 1
    first = replace(report, id=f"{report.id}.0", verdicts=())
    if len(encode(first)) > max_bytes:
        raise InputError(f"a report whose coverage alone is larger than {max_bytes} bytes", code="Oversize")
    empty = replace(report, verdicts=(), coverage=None, gaps=(), outcomes=())
    room = max_bytes - len(encode(empty)) - 64
    # 2, 3
    groups = _group([_shrink(v, room) for v in report.verdicts], room)
    return (first, *(replace(empty, id=f"{report.id}.{n}", verdicts=tuple(group)) for n, group in enumerate(groups, 1)))


def _group(verdicts: list[Verdict], room: int) -> Iterator[list[Verdict]]:
    group: list[Verdict] = []
    used = 0
    for verdict in verdicts:
        size = len(encode(verdict)) + 1
        if group and used + size > room:
            yield group
            group, used = [], 0
        group.append(verdict)
        used += size
    if group:
        yield group


def _shrink(verdict: Verdict, room: int) -> Verdict:
    if len(encode(verdict)) < room:
        return verdict
    worst_first = sorted(verdict.findings, key=lambda f: -f.level)
    used = len(encode(replace(verdict, findings=()))) + 256
    kept = 0
    for finding in worst_first:
        used += len(encode(finding)) + 1
        if used > room:
            break
        kept += 1
    rest = Aggregate(pattern="**", rule=TOO_LARGE, count=len(worst_first) - kept)
    return replace(verdict, findings=tuple(worst_first[:kept]), aggregates=(*verdict.aggregates, rest))
