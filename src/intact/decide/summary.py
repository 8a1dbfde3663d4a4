"""What a person reads of an incident: its gravest paths, each once over all pods. Pure."""

from __future__ import annotations

from intact.model.incident import Incident, PathSummary, Seen


def summarise_paths(incident: Incident, most: int = 20) -> tuple[PathSummary, ...]:
    """At most `most` paths, the gravest and then the earliest first."""
    groups: dict[tuple[bytes, str, str], list[Seen]] = {}
    for one in incident.seen:
        groups.setdefault((one.path, one.change, one.actual), []).append(one)
    summaries = [
        PathSummary(
            path=path,
            change=change,
            level=max(one.level for one in group),
            expected=group[0].expected,
            actual=actual,
            first_seen=min(one.at for one in group),
            pods=tuple(sorted({one.pod for one in group})),
        )
        for (path, change, actual), group in groups.items()
    ]
    return tuple(sorted(summaries, key=lambda s: (-s.level, s.first_seen, s.path))[:most])
