"""What the files that differ say: contents of both sides read, compared by lines, and bounded, for people.

In: a container, its baseline, what was found of it. Out: a `Shown`. The container's side is read from its writable layer, the image's from
the read-only layers as they lie on this disk, and only if that has the baseline's digest. Never runs a file, and follows no link.

1. The gravest differences first, at most `MOST_DIFFERENCES`. 2. The container's file, its first bytes or all of it. 3. The image's file
from the layer that the baseline says brought it. 4. What is shown altogether stays about `MOST_BYTES`: beyond it differences come without
text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from types import MappingProxyType

from intact.adapters.linux.mounts import uses_user_attributes
from intact.adapters.linux.tree import HostTree
from intact.compare.content import HEAD_BYTES, describe_content
from intact.compare.redact import redact
from intact.compare.text import MOST_BYTES as MOST_TEXT_BYTES
from intact.compare.text import TextDiff, diff_text, is_text
from intact.model.container import Mounted, Running
from intact.model.digest import Algorithms
from intact.model.entry import Entry, Kind
from intact.model.errors import InputError
from intact.model.finding import Change, Difference, Finding, Verdict
from intact.model.hashing import choose_hasher
from intact.model.layer import Baseline
from intact.model.observation import Scope, Unobserved
from intact.model.process import Writer
from intact.model.shown import Shown, ShownDifference
from intact.observe.ports import Node

from .watched import describe_writer

MOST_DIFFERENCES = 2000
MOST_BYTES = 1 << 20
"""Of text in one container's `Shown`; a difference without text counts with its path and a constant."""
_CONSTANT_BYTES = 1000


@dataclass(frozen=True, slots=True)
class _Side:
    """`data` is all of the content, or `head` its beginning, or `reason` why there is neither."""

    head: bytes = b""
    data: bytes | None = None
    reason: str = ""
    changed_at: float = 0.0

    @property
    def note(self) -> str:
        return describe_content(self.head)


_NOTHING = _Side(data=b"")


def show(
    running: Running,
    baseline: Baseline,
    differences: Iterable[Difference],
    verdicts: Sequence[Verdict],
    *,
    rules: Mapping[bytes, str] = MappingProxyType({}),
    with_silent: bool = False,
    show_secrets: bool = False,
    find_writer: Callable[[str], Writer | None] = lambda finding_id: None,
) -> Shown:
    """`differences` are all of the writable layer, `verdicts` what was judged of it and of the read-only layers. Raises InputError where
    the container's writable layer is gone. `rules` names the rules that are silent about paths, `find_writer` knows who did a finding, by
    its id."""
    mounted = running.mounted
    assert mounted is not None, "who has no confirmed overlay was not looked at"
    findings = sorted((f for verdict in verdicts for f in verdict.findings), key=lambda f: (-f.level, f.difference.path))
    findings = [finding if (writer := find_writer(finding.id)) is None else _sign(finding, writer) for finding in findings]
    told = {finding.difference.path for finding in findings if finding.scope is Scope.DRIFT}
    beside = [d for d in differences if d.path not in told and d.change is not Change.UNREAD]
    wanted: list[tuple[Difference, Finding | None]] = [(finding.difference, finding) for finding in findings]
    wanted += [(difference, None) for difference in beside] if with_silent else []
    shown: list[ShownDifference] = []
    size = 0
    with HostTree(mounted.upper, user_attributes=uses_user_attributes(mounted)) as upper:
        for difference, finding in wanted[:MOST_DIFFERENCES]:  # 1
            one = _show_one(mounted, upper, baseline, difference, finding, show_secrets=show_secrets, has_room=size < MOST_BYTES)
            one = replace(one, rule=one.rule or rules.get(one.path, ""))
            size += sum(len(line) for line in one.text) + len(one.path) + _CONSTANT_BYTES
            shown.append(one)
    untold = sum(verdict.untold for verdict in verdicts)
    untold_beside = sum(verdict.untold for verdict in verdicts if verdict.scope is Scope.DRIFT)
    silent = sum(one.count for verdict in verdicts if verdict.scope is Scope.DRIFT for one in verdict.aggregates) - untold_beside
    unlisted = max(0, silent + untold_beside - len(beside))
    return Shown(
        container=running.container,
        baseline_root=baseline.root,
        grade=baseline.grade,
        at=max((verdict.at for verdict in verdicts), default=0.0),
        differences=tuple(shown),
        unobserved=tuple(one for verdict in verdicts for one in verdict.unobserved),
        left_out=max(0, len(wanted) - MOST_DIFFERENCES) + untold + (unlisted - untold_beside if with_silent else 0),
        silent=0 if with_silent else silent,
        has_secrets=show_secrets,
    )


def _show_one(
    mounted: Mounted, upper: HostTree, baseline: Baseline, difference: Difference, finding: Finding | None,
    *, show_secrets: bool, has_room: bool,
) -> ShownDifference:  # fmt: skip
    scope = finding.scope if finding is not None else Scope.DRIFT
    expected, actual = difference.expected, difference.actual
    was = now = _NOTHING
    text = TextDiff()
    if scope is Scope.DRIFT:
        now = _read_upper(upper, difference.path, actual)
        if _changes_content(difference):
            was = _read_image(mounted, baseline, expected)
            text = _compare(difference, was, now, show_secrets=show_secrets) if has_room else TextDiff(reason="no room for more text")
    elif scope is Scope.LAYERS and _is_file(actual):
        text = TextDiff(reason="a read-only layer is not compared by lines")
    elif difference.reason:
        now = _Side(reason=difference.reason)
    return ShownDifference(
        path=difference.path,
        change=difference.change,
        fields=difference.fields,
        expected=expected,
        actual=actual,
        scope=scope,
        level=finding.level.title if finding is not None else "",
        rule=finding.rule if finding is not None else "",
        was=was.note,
        now=now.note or (now.reason if scope is Scope.LIVE else ""),
        changed_at=(finding.changed_at if finding is not None else 0.0) or now.changed_at,
        process=_redact(finding.process) if finding is not None else "",
        writer=finding.writer if finding is not None else None,
        text=text.lines,
        untold=text.reason,
    )


def _sign(finding: Finding, writer: Writer) -> Finding:
    return replace(finding, writer=writer, process=describe_writer(writer))


def _redact(text: str) -> str:
    """Arguments of a process may be secrets too."""
    return redact([text.encode("utf-8", "backslashreplace")])[0].decode("utf-8", "backslashreplace")


def _changes_content(difference: Difference) -> bool:
    """Whether it is a file's content that came, went or is another."""
    is_other = bool({"content", "type"} & set(difference.fields)) or difference.change in (Change.ADDED, Change.DELETED)
    return is_other and (_is_file(difference.expected) or _is_file(difference.actual))


def _compare(difference: Difference, was: _Side, now: _Side, *, show_secrets: bool) -> TextDiff:
    for side in (now, was):
        if side.data is None:
            return TextDiff(reason=side.reason)
    return diff_text(difference.path, was.data or b"", now.data or b"", show_secrets=show_secrets)


def _is_file(entry: Entry | None) -> bool:
    return entry is not None and entry.kind is Kind.FILE


def _read_upper(tree: HostTree, path: bytes, actual: Entry | None) -> _Side:
    """2. Of what was deleted, the whiteout says when."""
    for found in tree.visit([path]):
        if isinstance(found, Unobserved):
            return _Side(reason=f"cannot be read: {found.reason}")
        if found.entry.path == path:
            changed_at = found.identity[4] / 1e9
            if not _is_file(actual):
                return _Side(data=b"", changed_at=changed_at)
            if _is_file(found.entry):
                return _vouch(_read(tree, found, changed_at), actual, "it changed again while it was read, or its content lies elsewhere")
    return _Side(reason="changed again while it was read") if _is_file(actual) else _NOTHING


def _read_image(mounted: Mounted, baseline: Baseline, expected: Entry | None) -> _Side:
    """3."""
    if expected is None or expected.kind is not Kind.FILE:
        return _NOTHING
    layers = zip(mounted.lowers, reversed(baseline.layers), strict=False) if len(mounted.lowers) == len(baseline.layers) else ()
    directory = next((directory for directory, table in layers if table.find(expected.path) is not None), None)
    if directory is not None:
        with suppress(InputError, OSError), HostTree(directory, user_attributes=uses_user_attributes(mounted)) as tree:
            for found in tree.visit([expected.path]):
                if isinstance(found, Node) and found.entry.path == expected.path and _is_file(found.entry):
                    return _vouch(
                        _read(tree, found, 0.0),
                        expected,
                        "the image's layer on this disk is not as its baseline says: no text to compare with",
                    )
    return _Side(reason="the image's content is not at hand on this disk")


def _vouch(side: _Side, entry: Entry | None, otherwise: str) -> _Side:
    """`side`, unless all of it was read and is not what `entry` was seen, or built, to be."""
    if side.data is None or entry is None or entry.digest is None:
        return side
    hasher = choose_hasher(Algorithms(entry.digest.algorithm))(side.data)
    return side if hasher.digest() == entry.digest.value else _Side(reason=otherwise, changed_at=side.changed_at)


def _read(tree: HostTree, node: Node, changed_at: float) -> _Side:
    head = tree.head(node, HEAD_BYTES)
    if isinstance(head, Unobserved):
        return _Side(reason=f"cannot be read: {head.reason}", changed_at=changed_at)
    size = node.entry.size_bytes
    if not is_text(head):
        return _Side(head=head, reason=f"{describe_content(head) or 'not text'}", changed_at=changed_at)
    if size > MOST_TEXT_BYTES:
        return _Side(head=head, reason=f"larger than the {MOST_TEXT_BYTES >> 10} KiB that are compared by lines", changed_at=changed_at)
    data = tree.head(node, MOST_TEXT_BYTES + 1)
    if isinstance(data, Unobserved) or len(data) != size:
        return _Side(head=head, reason="changed while it was read", changed_at=changed_at)
    return _Side(head=head, data=data, changed_at=changed_at)
