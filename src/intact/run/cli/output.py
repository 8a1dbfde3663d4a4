"""How results are shown: one flat description of a finding and a verdict for people's eyes and for programs, and `--output`.

Descriptions are for reading: paths are escaped for display, digests name their algorithm, modes are octal, times are RFC 3339 in UTC.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from intact.model.container import Container
from intact.model.digest import Digest
from intact.model.entry import Entry, display_path
from intact.model.errors import InputError, PermanentError
from intact.model.finding import Finding, Verdict
from intact.model.layer import Grade
from intact.model.observation import Scope, Unobserved
from intact.model.process import Writer
from intact.model.stated import Aspect, Stated

OUTPUTS = ("table", "json", "jsonl")

output_option: Callable[[Callable[..., Any]], Callable[..., Any]] = click.option(
    "--output", "output", type=click.Choice(OUTPUTS), default="table", show_default=True, help="How to print the result."
)


def print_rows(
    rows: Sequence[Mapping[str, Any]], columns: Mapping[str, Callable[[Mapping[str, Any]], str]], output: str, empty: str
) -> None:
    """`rows` on stdout: as a table of `columns` (title → cell), as one JSON array, or as JSON lines. `empty` is said on stderr."""
    if output == "json":
        click.echo(json.dumps(list(rows), indent=2))
    elif output == "jsonl":
        for row in rows:
            click.echo(json.dumps(row))
    elif not rows:
        click.echo(empty, err=True)
    else:
        cells = [list(columns), *([cell(row) for cell in columns.values()] for row in rows)]
        widths = [max(len(line[i]) for line in cells) for i in range(len(columns))]
        for line in cells:
            click.echo("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip())


def check_replaceable(path: Path) -> None:
    """Files are written beside their place and renamed into it: that would put a file where a device (/dev/null) or a link (/dev/stdout)
    stood. Raises InputError for all but files and names that are free in a directory that is there, PermanentError where that takes none:
    before the work, not after it."""
    if path.is_symlink() or (path.exists() and not path.is_file()):
        raise InputError(f"{path} is there, and not a regular file", hint="name a file: devices, links and directories are never replaced")
    if not path.parent.is_dir():
        raise InputError(f"cannot write {path}: {path.parent} is no directory", code="NoSuchDirectory", hint="make it first")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise PermanentError(f"cannot write {path}: {path.parent} takes no files from you", code="Write", hint="read-only, or not yours")


def describe_time(at: float) -> str:
    """`2027-01-31T23:59:59.123Z`, or an empty string for never."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z") if at else ""


def describe_entry(entry: Entry | None) -> dict[str, Any] | None:
    """One side of a difference, None where there is nothing."""
    if entry is None:
        return None
    described: dict[str, Any] = {
        "kind": entry.kind.value,
        "mode": f"{entry.mode:04o}",
        "uid": entry.uid,
        "gid": entry.gid,
        "size_bytes": entry.size_bytes,
    }
    if entry.digest is not None:
        described["digest"] = str(entry.digest)
    if entry.target:
        described["target"] = display_path(entry.target)
    if entry.device is not None:
        described["device"] = f"{entry.device[0]}:{entry.device[1]}"
    if entry.xattrs:
        described["xattrs"] = {display_path(name): value.hex() for name, value in entry.xattrs}
    return described


_FIELDS = {
    Aspect.CONTENT: "digest", Aspect.SIZE: "size_bytes", Aspect.MODE: "mode", Aspect.UID: "uid", Aspect.GID: "gid", Aspect.TARGET: "target",
    Aspect.DEVICE: "device", Aspect.XATTRS: "xattrs",
}  # fmt: skip


def describe_known(entry: Entry | None, stated: Stated) -> dict[str, Any] | None:
    """As `describe_entry`, without what was not stated: that is nobody's word."""
    described = describe_entry(entry)
    if described is not None:
        for aspect, name in _FIELDS.items():
            if aspect not in stated.aspects:
                described.pop(name, None)
    return described


def describe_container(container: Container) -> dict[str, Any]:
    described: dict[str, Any] = {"id": container.id, "name": container.name, "image": container.image, "node": container.node}
    if container.pod is not None:
        described["pod"] = {"namespace": container.pod.namespace, "name": container.pod.name, "uid": container.pod.uid}
    return described


def describe_finding(finding: Finding) -> dict[str, Any]:
    """What changed, where, when, and how bad it is."""
    difference = finding.difference
    return {
        "type": "finding",
        "id": finding.id,
        "path": display_path(difference.path),
        "change": difference.change.value,
        "fields": list(difference.fields),
        "reason": difference.reason,
        "level": finding.level.title,
        "rule": finding.rule,
        "scope": finding.scope.value,
        "expected": describe_entry(difference.expected),
        "actual": describe_entry(difference.actual),
        "container": describe_container(finding.container),
        "observed_at": describe_time(finding.observed_at),
        "process": finding.process,
        "writer": describe_writer(finding.writer),
        "baseline": {"root": str(finding.baseline_root), "grade": finding.grade.title},
    }


def describe_writer(writer: Writer | None) -> dict[str, Any] | None:
    """Who did it, None where nobody can be named."""
    if writer is None:
        return None
    return {
        "pid": writer.pid,
        "executable": display_path(writer.executable),
        "name": display_path(writer.name),
        "arguments": [display_path(argument, 1024) for argument in writer.arguments],
        "parents": [{"pid": parent.pid, "executable": display_path(parent.executable)} for parent in writer.parents],
        "uid": writer.uid,
        "started_at": describe_time(writer.started_at),
        "has_exited": writer.has_exited,
        "is_inside": writer.is_inside,
    }


def describe_unobserved(unobserved: Unobserved) -> dict[str, str]:
    """What could not be looked at, and why."""
    return {"type": "unobserved", "path": display_path(unobserved.path), "reason": unobserved.reason}


def describe_verdict(verdict: Verdict) -> dict[str, Any]:
    """One look at one container; the findings themselves are told apart."""
    return {
        "type": "verdict",
        "container": describe_container(verdict.container),
        "state": verdict.state.value,
        "scope": verdict.scope.value,
        "findings": len(verdict.findings),
        "compared": verdict.compared,
        "aggregates": [{"pattern": a.pattern, "rule": a.rule, "count": a.count} for a in verdict.aggregates],
        "unobserved": [{"path": display_path(u.path), "reason": u.reason} for u in verdict.unobserved],
        "baseline": describe_baseline(verdict.baseline_root, verdict.grade),
        "at": describe_time(verdict.at),
    }


def describe_baseline(root: Digest | None, grade: Grade | None) -> dict[str, str]:
    """Empty texts where there is none."""
    return {"root": str(root) if root is not None else "", "grade": grade.title if grade is not None else ""}


def describe_state(entry: Mapping[str, Any] | None) -> str:
    """One side of a difference in one short cell: `sha256:0a1b2c3d4e5f 0755 0:0 12345`."""
    if entry is None:
        return "-"
    what = entry.get("digest", "")[:19] or entry.get("target") or entry["kind"]
    owner = f"{entry.get('uid', '?')}:{entry.get('gid', '?')}" if "uid" in entry or "gid" in entry else ""
    return " ".join(filter(None, (what, entry.get("mode", ""), owner, str(entry.get("size_bytes", "")))))


def _describe_there(row: Mapping[str, Any]) -> str:
    """What is there now; of what runs or is mounted, what is wrong with it."""
    if row["scope"] == Scope.LIVE.value and row["reason"]:
        return display_path(str(row["reason"]).encode("utf-8", "backslashreplace"), 200)
    return describe_state(row["actual"])


FINDING_COLUMNS: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "LEVEL": lambda row: str(row["level"]),
    "CHANGE": lambda row: str(row["change"]),
    "PATH": lambda row: str(row["path"]),
    "EXPECTED": lambda row: describe_state(row["expected"]),
    "ACTUAL": _describe_there,
    "RULE": lambda row: str(row["rule"]),
}


def sort_findings(findings: Iterable[Finding]) -> list[Finding]:
    """The worst first, then by path."""
    return sorted(findings, key=lambda f: (-f.level, f.difference.path))
