"""An alert as JSON for other programs: the `data` of the webhook, and the line of the stdout sink (docs/notify.md)."""

from __future__ import annotations

from datetime import UTC, datetime

from intact.model.alert import Alert, AlertPath
from intact.model.bytestext import escape_bytes


def describe_alert(alert: Alert) -> dict[str, object]:
    """Every field of the alert under a stable name; paths as `model.bytestext` writes them."""
    workload = alert.workload
    return {
        "id": alert.id,
        "kind": alert.kind.value,
        "time": format_utc(alert.at),
        "level": alert.level.title,
        "summary": alert.summary,
        "incident": alert.incident_id,
        "workload": {"kind": workload.kind, "namespace": workload.namespace, "name": workload.name, "uid": workload.uid}
        if workload
        else None,
        "cause": alert.cause,
        "explanation": alert.explanation,
        "policy": alert.policy,
        "firstSeen": format_utc(alert.first_seen) if alert.first_seen else None,
        "count": alert.count,
        "pods": list(alert.pods),
        "nodes": list(alert.nodes),
        "paths": [_describe_path(path) for path in alert.paths],
        "pathsTotal": alert.paths_total,
        "action": alert.action,
        "phase": alert.phase,
        "reason": alert.reason,
        "suppressed": alert.suppressed,
        "grade": alert.grade,
        "baselines": list(alert.baselines),
    }


def format_utc(at: float) -> str:
    """Unix seconds → RFC 3339 in UTC with milliseconds; a time no calendar has (a node may claim any) becomes `unix:<number>`."""
    try:
        return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    except (OverflowError, ValueError, OSError):
        return f"unix:{at!r}"


def _describe_path(path: AlertPath) -> dict[str, object]:
    return {
        "path": escape_bytes(path.path),
        "change": path.change,
        "level": path.level.title,
        "expected": path.expected,
        "actual": path.actual,
        "pod": path.pod,
        "node": path.node,
        "container": path.container,
        "process": path.process,
        "time": format_utc(path.at),
    }
