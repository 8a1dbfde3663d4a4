"""What `intact diff` shows and `intact check` finds as SARIF 2.1.0 (OASIS Standard, 27 March 2020), for the tools that read it.

One run a container (section 3.14); a result for each difference (3.27): its rule, `error` from High on, `warning` for Medium and Low,
`note` below; the path as a URI relative to the container's root (3.4.4), percent-encoded byte by byte; the unified text in `properties`.
What could not be looked at is a notification of the run's invocation (3.20.21), and `executionSuccessful` says whether there is none.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any
from urllib.parse import quote_from_bytes

from intact.compare.rules import RULES
from intact.compare.text import show_line
from intact.model.entry import describe, display_path
from intact.model.finding import Verdict
from intact.model.observation import Scope
from intact.model.shown import Shown, ShownDifference

from .output import describe_baseline, describe_container, describe_entry, describe_time, describe_writer
from .source import clean

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
ROOT = "CONTAINER"
_LEVELS = {"Critical": "error", "High": "error", "Medium": "warning", "Low": "warning"}
_SILENT = "silent"


def show_verdicts(verdicts: Sequence[Verdict]) -> Shown:
    """The verdicts on one container, or one directory, without what its files say."""
    findings = sorted((one for verdict in verdicts for one in verdict.findings), key=lambda one: (-one.level, one.difference.path))
    differences = [
        ShownDifference(
            path=one.difference.path,
            change=one.difference.change,
            fields=one.difference.fields,
            expected=one.difference.expected,
            actual=one.difference.actual,
            scope=one.scope,
            level=one.level.title,
            rule=one.rule,
            now=one.difference.reason if one.scope is Scope.LIVE else "",
            changed_at=one.changed_at,
            process=one.process,
            writer=one.writer,
        )
        for one in findings
    ]
    return Shown(
        container=verdicts[0].container,
        baseline_root=verdicts[0].baseline_root,
        grade=verdicts[0].grade,
        at=max(verdict.at for verdict in verdicts),
        differences=tuple(differences),
        unobserved=tuple(one for verdict in verdicts for one in verdict.unobserved),
        left_out=sum(verdict.untold for verdict in verdicts),
    )


def make_sarif(shown: Sequence[Shown]) -> dict[str, Any]:
    """The whole log (3.13)."""
    return {"$schema": SCHEMA, "version": "2.1.0", "runs": [_make_run(one) for one in shown]}


def _make_run(shown: Shown) -> dict[str, Any]:
    container = shown.container
    name = f"{container.pod.namespace}/{container.pod.name}/{container.name}" if container.pod is not None else container.id
    rules = list(dict.fromkeys(one.rule or _SILENT for one in shown.differences))
    notifications = [
        {"level": "warning", "message": {"text": f"not observed: {display_path(one.path)}: {clean(one.reason)}"}}
        for one in shown.unobserved
    ]
    if shown.left_out:
        notifications.append({"level": "warning", "message": {"text": f"{shown.left_out} more differences are not shown"}})
    return {
        "tool": {"driver": {"name": "Intact", "version": _version(), "rules": [_make_rule(rule) for rule in rules]}},
        "automationDetails": {"id": f"intact diff/{clean(name, 300)}"},
        "originalUriBaseIds": {ROOT: {"description": {"text": f"the root of the container {clean(name, 300)}"}}},
        "invocations": [
            {
                "executionSuccessful": not notifications,
                **({"endTimeUtc": describe_time(shown.at)} if shown.at else {}),
                "toolExecutionNotifications": notifications,
            }
        ],
        "results": [_make_result(one, rules.index(one.rule or _SILENT), name) for one in shown.differences],
        "properties": {
            "container": describe_container(container),
            "baseline": describe_baseline(shown.baseline_root, shown.grade),
            "silent": shown.silent,
        },
    }


def _make_rule(rule: str) -> dict[str, Any]:
    known = RULES.get(rule)
    sentence = known.sentence if known is not None else "A difference that the default rules are silent about."
    return {"id": clean(rule, 100), "shortDescription": {"text": sentence}}


def _make_result(one: ShownDifference, rule_index: int, name: str) -> dict[str, Any]:
    path = display_path(one.path)
    who = f", by {clean(one.process, 600)}" if one.process else ""
    now = one.now if one.scope is Scope.LIVE and one.now else describe(one.actual)
    text = f"{one.change.value} {path}: {clean(describe(one.expected), 600)} -> {clean(now, 600)}{who}"
    properties = {
        "change": one.change.value,
        "fields": [clean(field) for field in one.fields],
        "scope": one.scope.value,
        "level": clean(one.level),
        "expected": describe_entry(one.expected),
        "actual": describe_entry(one.actual),
        "was": clean(one.was, 600),
        "now": clean(one.now, 600),
        "changedAt": describe_time(one.changed_at),
        "process": clean(one.process, 600),
        "writer": describe_writer(one.writer),
        "diff": [show_line(line) for line in one.text],
        "noDiff": clean(one.untold, 600),
    }
    return {
        "ruleId": clean(one.rule or _SILENT, 100),
        "ruleIndex": rule_index,
        "kind": "fail" if one.level else "informational",
        "level": _LEVELS.get(one.level, "note") if one.level else "none",
        "message": {"text": text},
        "locations": [
            {
                "physicalLocation": {"artifactLocation": {"uri": _make_reference(one.path), "uriBaseId": ROOT}},
                "logicalLocations": [{"fullyQualifiedName": clean(name, 300)}],
            }
        ],
        "properties": {key: value for key, value in properties.items() if value not in ("", [], None)},
    }


def _make_reference(path: bytes) -> str:
    """`path` relative to the container's root, percent-encoded byte by byte (RFC 3986, section 4.2)."""
    return quote_from_bytes(path.lstrip(b"/")) or "./"


@cache
def _version() -> str:
    try:
        return version("intact")
    except PackageNotFoundError:
        return "unknown"
