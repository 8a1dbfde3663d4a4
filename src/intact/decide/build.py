"""Workloads that are declared to build software: what changes in them is the work they do. Pure.

In: a verdict on one of their containers. Out: the same verdict, with what builds do as numbers instead of findings. Rights (set-user-ID,
capabilities, device nodes), mounts, other namespaces and roots, a replaced first process and read-only layers stay what they are.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from intact.model.entry import display_path
from intact.model.finding import Aggregate, Finding, Verdict

BUILD_RULES = frozenset(
    {
        "image-file-changed",
        "control-file-added",
        "bytecode-forged",
        "bytecode-cache-added",
        "code-added",
        "not-of-the-image-executed",
        "volume-executed",
        "added-to-volume",
    }
)
"""What packages being installed, compilers and test runs do to files, and run."""
MAX_PATTERNS = 64


def fold_build(verdict: Verdict) -> Verdict:
    """`verdict` with what builds do counted by rule and by the directory below the root. What is beyond the bound of a verdict was
    counted by rule before."""
    counts: Counter[tuple[str, str]] = Counter()
    kept: list[Finding] = []
    for finding in verdict.findings:
        if finding.rule not in BUILD_RULES:
            kept.append(finding)
            continue
        place = (finding.rule, _pattern(finding.difference.path))
        counts[place if place in counts or len(counts) < MAX_PATTERNS else (finding.rule, "/**")] += 1
    folded = tuple(Aggregate(pattern=pattern, rule=rule, count=count) for (rule, pattern), count in sorted(counts.items()))
    return replace(verdict, findings=tuple(kept), aggregates=(*verdict.aggregates, *folded))


def _pattern(path: bytes) -> str:
    first, _, below = path.lstrip(b"/").partition(b"/")
    return f"/{display_path(first, 200)}/**" if below else f"/{display_path(first, 200)}"
