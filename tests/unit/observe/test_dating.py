"""A finding says when it was made, by what no container can set, and what a small text is whatever the order of its lines."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import pytest

from intact.adapters.linux.tree import HostTree
from intact.compare.differ import compare
from intact.compare.judge import judge
from intact.model.digest import Digest
from intact.model.finding import Finding
from intact.model.observation import Unobserved
from intact.observe.dating import TEXT_LINES, date_findings, digest_lines
from intact.observe.ports import Node
from tests.attack.staged import Staged

EARLY = 978_307_200.0
"""2001: a time that only `utime` can have set."""


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Staged]:
    with Staged(tmp_path) as staged:
        for name in ("etc/web.conf", "etc/other.conf", "etc/third.conf", "usr/bin/tool"):
            file = staged.image / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(f"a {name}\nb\n")
        staged.start()
        yield staged


def dated(staged: Staged, known: Mapping[str, Finding] | None = None) -> dict[bytes, Finding]:
    findings = judge(staged.baseline, staged.look(), compare(staged.baseline, staged.look())).findings
    with HostTree(os.fsencode(staged.upper), known=staged.known) as tree:
        return {found.difference.path: found for found in date_findings(tree, staged.baseline, findings, known or {})}


def moment() -> float:
    """A moment between two changes that file systems can tell apart: their clock ticks no finer than 10 ms."""
    time.sleep(0.03)
    now = time.time()
    time.sleep(0.03)
    return now


def test_a_change_is_as_old_as_it_is_whatever_times_the_container_sets(web: Staged) -> None:
    before = moment()
    (web.inside / "etc/web.conf").write_text("changed\n")
    (web.inside / "etc/new.conf").write_text("new\n")
    after = moment()
    os.utime(web.inside / "etc/new.conf", (EARLY, EARLY))
    found = dated(web)
    assert before < found[b"/etc/web.conf"].changed_at < after
    assert found[b"/etc/new.conf"].changed_at > after, "setting a time is a change"


def test_a_file_moved_into_place_was_made_there_when_it_was_moved(web: Staged) -> None:
    (web.inside / "prepared").mkdir()
    (web.inside / "prepared/job").write_text("* * * * * root /tmp/x\n")
    (web.inside / "single").write_text("* * * * * root /tmp/y\n")
    ready = moment()
    (web.inside / "prepared").rename(web.inside / "etc/cron.d")
    (web.inside / "single").rename(web.inside / "etc/single.conf")
    found = dated(web)
    assert (web.upper / "etc/cron.d/job").stat().st_ctime < ready, "the file itself does not show it"
    assert found[b"/etc/cron.d/job"].placed_at > ready
    assert found[b"/etc/single.conf"].changed_at > ready


def test_another_name_in_its_directory_makes_a_file_no_younger(web: Staged) -> None:
    (web.inside / "etc/cron.d").mkdir()
    (web.inside / "etc/cron.d/job").write_text("* * * * * root /bin/true\n")
    first = dated(web)
    known = {found.id: found for found in first.values()}
    ready = moment()
    (web.inside / "etc/cron.d/later").write_text("* * * * * root /bin/false\n")
    second = dated(web, known)
    assert second[b"/etc/cron.d/job"].changed_at == first[b"/etc/cron.d/job"].changed_at < ready
    assert second[b"/etc/cron.d/job"].placed_at == first[b"/etc/cron.d/job"].placed_at < ready
    assert dated(web)[b"/etc/cron.d/job"].placed_at > ready, "nobody remembers that it was there before"
    assert second[b"/etc/cron.d/later"].changed_at > ready
    (web.inside / "etc/cron.d/job").write_text("* * * * * root /tmp/x\n")
    assert dated(web, known)[b"/etc/cron.d/job"].changed_at > ready


def test_a_deletion_keeps_the_earliest_time_it_was_seen_at(web: Staged) -> None:
    before = moment()
    (web.inside / "etc/web.conf").unlink()
    first = dated(web)
    ready = moment()
    assert before < first[b"/etc/web.conf"].changed_at < ready
    (web.inside / "etc/other.conf").unlink()  # whiteouts are links of one inode: this moves the first one's ctime
    known = {found.id: found for found in first.values()}
    second = dated(web, known)
    assert second[b"/etc/web.conf"].changed_at < ready < second[b"/etc/other.conf"].changed_at


def test_a_directory_put_in_the_place_of_the_images_dates_all_that_it_hides(web: Staged) -> None:
    (web.inside / "usr/bin/tool").unlink()
    (web.inside / "usr/bin").rmdir()
    ready = moment()
    (web.inside / "usr/bin").mkdir()
    found = dated(web)
    assert found[b"/usr/bin/tool"].changed_at > ready


def judged(web: Staged) -> tuple[Finding, ...]:
    return judge(web.baseline, web.look(), compare(web.baseline, web.look())).findings


def dated_after(web: Staged, findings: tuple[Finding, ...], known: Mapping[str, Finding] | None = None) -> Finding:
    with HostTree(os.fsencode(web.upper)) as tree:
        (found,) = date_findings(tree, web.baseline, findings, known or {})
    return found


def test_a_lock_that_is_gone_when_it_is_dated_is_no_younger_than_its_directory(web: Staged) -> None:
    (web.inside / "etc/passwd.lock").write_text("7")
    findings = judged(web)
    before = moment()
    (web.inside / "etc/passwd.lock").unlink()
    found = dated_after(web, findings)
    assert before < found.changed_at < moment() and found.lines is None
    (web.inside / "etc/other.lock").write_text("8")
    assert dated_after(web, findings).changed_at > found.changed_at, "whoever does so later is believed to have done it later"


def test_what_is_gone_with_its_container_keeps_the_dates_that_it_had(web: Staged) -> None:
    (web.inside / "etc/web.conf").write_text("changed\n")
    before = dated(web)[b"/etc/web.conf"]
    findings = judged(web)
    moment()
    shutil.rmtree(web.upper / "etc")
    found = dated_after(web, findings, {before.id: before})
    assert (found.changed_at, found.placed_at, found.lines) == (before.changed_at, before.placed_at, before.lines)
    assert dated_after(web, findings).changed_at == 0.0, "nobody knew it before"


def test_what_cannot_be_looked_at_when_it_is_dated_has_no_date(web: Staged) -> None:
    (web.inside / "etc/new.conf").write_text("new\n")
    findings = judged(web)

    class Failing(HostTree):
        def visit(self, paths: Iterable[bytes]) -> Iterator[Node | Unobserved]:
            for found in super().visit(paths):
                failed = isinstance(found, Node) and found.entry.path == b"/etc/new.conf"
                yield Unobserved(path=b"/etc/new.conf", reason="EIO") if failed else found

    with Failing(os.fsencode(web.upper)) as tree:
        (found,) = date_findings(tree, web.baseline, findings, {})
    assert (found.changed_at, found.lines) == (0.0, None)


def test_lines_in_another_order_or_repeated_are_the_same_text(web: Staged) -> None:
    (web.inside / "etc/web.conf").write_text("one\ntwo\nthree\n")
    first = dated(web)[b"/etc/web.conf"]
    (web.inside / "etc/web.conf").write_text("three\none\ntwo\ntwo")
    second = dated(web)[b"/etc/web.conf"]
    assert first.id != second.id and first.lines == second.lines is not None
    (web.inside / "etc/web.conf").write_text("three\none\ntwo\nfour\n")
    assert dated(web)[b"/etc/web.conf"].lines not in (None, first.lines)


def test_lines_that_run_into_one_another_are_others() -> None:
    texts = [b"", b"\n\n", b"a\nb", b"ab", b"a", b"b", b"a\r\nb", b"a\n\nb"]
    assert len({digest_lines(text) for text in texts}) == len(texts) - 1, "no line and one empty line are one"
    assert digest_lines(b"a\nb\n") == digest_lines(b"b\na")


def test_what_is_no_text_or_has_too_many_lines_is_known_by_its_digest_alone() -> None:
    assert digest_lines(b"\x7fELF\0") is None
    assert digest_lines(b"\n" * (TEXT_LINES + 1)) is None
    assert isinstance(digest_lines(b"x\n" * TEXT_LINES), Digest)
