"""How `intact diff` prints what a container shows: for eyes, or as JSON.

In: records whose every text may be hostile, from this host or from a node far away. Out: text without anything that a terminal obeys. As
JSON lines, a line a difference, and after those of a container a line on the container itself.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from typing import Any

import click

from intact.compare.text import show_line
from intact.model.entry import Entry, Kind, display_path
from intact.model.finding import Change, Difference
from intact.model.observation import Scope
from intact.model.shown import Shown, ShownDifference

from .baseline.changes import MARKS, describe_change
from .output import describe_baseline, describe_container, describe_entry, describe_time, describe_writer
from .sarif import make_sarif
from .source import clean, count_of, describe_age

OUTPUTS = ("table", "json", "jsonl", "sarif")
_COLOURS = {"+": "green", "-": "red", "@": "cyan"}
_LEVELS = {"Critical": "red", "High": "red", "Medium": "yellow"}
_SHORT_HASH = 19


def print_shown(shown: Sequence[Shown], output: str) -> None:
    """On stdout."""
    if output == "sarif":
        click.echo(json.dumps(make_sarif(shown), indent=2))
    elif output == "json":
        click.echo(json.dumps([describe_shown(one) for one in shown], indent=2))
    elif output == "jsonl":
        for one in shown:
            whole = describe_shown(one)
            for difference in whole.pop("differences"):
                click.echo(json.dumps({"type": "difference", "container": whole["container"], **difference}))
            click.echo(json.dumps(whole))
    else:
        for number, one in enumerate(shown):
            if number and one.differences:
                click.echo()
            _print_container(one, time.time())


def tell_rest(shown: Sequence[Shown]) -> None:
    """On stderr: what is not among the differences."""
    for one in shown:
        name = _name(one)
        if not one.differences and one.grade is not None:
            click.echo(f"{name}: nothing differs from the image{' that a rule tells of' if one.silent else ''}", err=True)
        if one.silent:
            silent = f"{one.silent:,} of which the rules are silent"
            click.echo(f"{name}: not shown: {silent} (data, logs, the runtime's own files); --all shows them", err=True)
        if one.left_out:
            click.echo(f"{name}: {one.left_out:,} more differences are not shown", err=True)
        if one.grade is not None:
            click.echo(f"{name}: compared with a baseline of grade {one.grade.title}, root {one.baseline_root}", err=True)
        for unobserved in one.unobserved:
            click.echo(f"{name}: not observed: {display_path(unobserved.path)}: {clean(unobserved.reason)}", err=True)


def describe_shown(shown: Shown) -> dict[str, Any]:
    return {
        "type": "container",
        "container": {
            key: clean(value, 512) if isinstance(value, str) else value for key, value in describe_container(shown.container).items()
        },
        "baseline": describe_baseline(shown.baseline_root, shown.grade),
        "at": describe_time(shown.at),
        "differences": [_describe_difference(one) for one in shown.differences],
        "silent": shown.silent,
        "left_out": shown.left_out,
        "unobserved": [{"path": display_path(one.path), "reason": clean(one.reason)} for one in shown.unobserved],
    }


def _describe_difference(one: ShownDifference) -> dict[str, Any]:
    return {
        "path": display_path(one.path),
        "change": one.change.value,
        "fields": [clean(field) for field in one.fields],
        "level": clean(one.level),
        "rule": clean(one.rule),
        "scope": one.scope.value,
        "expected": describe_entry(one.expected),
        "actual": describe_entry(one.actual),
        "was": clean(one.was, 600),
        "now": clean(one.now, 600),
        "changed_at": describe_time(one.changed_at),
        "process": clean(one.process, 600),
        "writer": describe_writer(one.writer),
        "text": [show_line(line) for line in one.text],
        "untold": clean(one.untold, 600),
    }


def _name(shown: Shown) -> str:
    container = shown.container
    pod = container.pod
    return clean(f"{pod.namespace}/{pod.name}/{container.name}" if pod is not None else container.id, 300)


def _print_container(shown: Shown, now: float) -> None:
    if not shown.differences:
        return
    what = f"{_name(shown)}  {clean(shown.container.image)}  {count_of(len(shown.differences), 'difference')}"
    click.echo(click.style(what, bold=True))
    for one in shown.differences:
        click.echo()
        _print_difference(one, now)


def _print_difference(one: ShownDifference, now: float) -> None:
    mark = click.style(MARKS.get(one.change, "!"), bold=True)
    level = click.style(clean(one.level, 20) or "silent", fg=_LEVELS.get(one.level))
    click.echo(f"{mark} {display_path(one.path)}  {level}  {clean(one.rule, 60)}".rstrip())
    for line in _details(one, now):
        click.echo(f"    {line}")
    for text in one.text:
        click.echo("    " + click.style(show_line(text), fg=_COLOURS.get(text[:1])))


def _details(one: ShownDifference, now: float) -> Iterator[str]:
    words = describe_change(Difference(path=one.path, change=one.change, expected=one.expected, actual=one.actual, fields=one.fields))
    runs = clean(one.now, 600) if one.scope is Scope.LIVE else ""
    where = "in a read-only layer" if one.scope is Scope.LAYERS else ""
    yield ", ".join(filter(None, (runs or one.change.value.lower(), words, where)))
    if "content" in one.fields or one.change in (Change.ADDED, Change.DELETED):
        hashes = [_short_hash(entry) for entry in (one.expected, one.actual) if entry is not None and entry.kind is Kind.FILE]
        if hashes:
            yield " -> ".join(hashes)
    if one.change is Change.ADDED and one.actual is not None and one.actual.kind is not Kind.SYMLINK:
        yield f"mode {one.actual.mode:04o}, owner {one.actual.uid}:{one.actual.gid}"
    if one.was and one.now and one.was != one.now:
        yield f"was {clean(one.was, 600)}; is {clean(one.now, 600)}"
    elif (one.now or one.was) and not runs:
        yield clean(one.now or one.was, 600)
    who = f" by {clean(one.process, 600)}" if one.process else ""
    if one.changed_at:
        yield f"changed {describe_time(one.changed_at)} ({describe_age(one.changed_at, now)} ago){who}"
    elif who:
        yield who.strip()
    if one.untold and one.untold not in (one.now, one.was):
        yield f"no lines to show: {clean(one.untold, 600)}"


def _short_hash(entry: Entry) -> str:
    return str(entry.digest)[:_SHORT_HASH] if entry.digest is not None else f"{entry.size_bytes:,} bytes, not hashed"
