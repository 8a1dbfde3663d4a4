"""The spool: nothing is lost by a crash, and nothing is dropped in silence when there is no room."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from intact.adapters.codec import encode
from intact.adapters.seam.frame import describe
from intact.adapters.seam.split import TOO_LARGE, split
from intact.adapters.seam.spool import Spool
from intact.model.errors import InputError, TemporaryError
from intact.model.seam import CommandOutcome, Gap, Report
from tests.unit.seam_contract import NODE, make_container, make_report


def drain(spool: Spool) -> list[Report]:
    reports = []
    while (spooled := spool.oldest(0)) is not None:
        reports.append(spooled.report)
        spool.acknowledge(spooled.number)
    return reports


def files(directory: Path, suffix: str) -> list[Path]:
    return sorted(p for p in directory.iterdir() if p.suffix == suffix)


def test_reports_come_out_as_they_went_in_and_in_order_also_after_a_restart(tmp_path: Path) -> None:
    reports = [make_report(f"r{n}", findings=n) for n in range(12)]
    spool = Spool(tmp_path, time.time)
    for report in reports[:7]:
        spool.append(report)
    spool.close()
    spool = Spool(tmp_path, time.time)
    for report in reports[7:]:
        spool.append(report)
    assert drain(spool) == reports
    assert not files(tmp_path, ".report")


def test_what_was_not_acknowledged_comes_again(tmp_path: Path) -> None:
    spool = Spool(tmp_path, time.time)
    spool.append(make_report("r1"))
    assert spool.oldest(0) == spool.oldest(0)
    spool.close()
    assert [r.id for r in drain(Spool(tmp_path, time.time))] == ["r1"]


def test_a_number_is_never_given_again_while_an_older_report_waits(tmp_path: Path) -> None:
    spool = Spool(tmp_path, time.time)
    spool.append(make_report("r1"))
    spool.append(make_report("r2"))
    first = spool.oldest(0)
    assert first is not None
    spool.acknowledge(first.number)
    spool.close()
    spool = Spool(tmp_path, time.time)
    spool.append(make_report("r3"))
    assert [r.id for r in drain(spool)] == ["r2", "r3"]


WRITER = """
import sys, time
from pathlib import Path
from intact.adapters.seam.spool import Spool
from tests.unit.seam_contract import make_report
spool = Spool(Path(sys.argv[1]), time.time)
n = 0
while True:
    spool.append(make_report(f"r{n}", findings=20))
    print(n, flush=True)
    n += 1
"""


def test_a_report_whose_append_returned_survives_kill_9(tmp_path: Path) -> None:
    repository = Path(__file__).parents[4]
    for _ in range(3):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path)],
            stdout=subprocess.PIPE,
            text=True,
            cwd=repository,
            env={**os.environ, "PYTHONPATH": "."},
        )
        assert writer.stdout is not None
        promised = -1
        for line in writer.stdout:
            promised = int(line)
            if promised >= 25:
                writer.send_signal(signal.SIGKILL)
                break
        promised = max([promised, *(int(line) for line in writer.stdout if line.endswith("\n"))])
        writer.wait()
        spool = Spool(tmp_path, time.time)
        ids = [r.id for r in drain(spool)]
        spool.close()
        assert ids[: promised + 1] == [f"r{n}" for n in range(promised + 1)]
        assert spool.pending_gap() is None


@pytest.mark.parametrize("keep", [0, 1, 8, 43, 60, -1])
def test_a_torn_report_is_set_aside_and_told_as_a_gap(tmp_path: Path, keep: int) -> None:
    spool = Spool(tmp_path, time.time)
    for n in range(3):
        spool.append(make_report(f"r{n}"))
    spool.close()
    torn = files(tmp_path, ".report")[1]
    torn.write_bytes(torn.read_bytes()[:keep])
    spool = Spool(tmp_path, time.time)
    assert [r.id for r in drain(spool)] == ["r0", "r2"]
    assert files(tmp_path, ".broken")
    spool.append(make_report("r3"))
    (report,) = drain(spool)
    assert report.gaps[0].events_lost == 1


def test_a_flipped_bit_is_never_believed(tmp_path: Path) -> None:
    spool = Spool(tmp_path, time.time)
    spool.append(make_report("r0"))
    spool.close()
    (path,) = files(tmp_path, ".report")
    whole = path.read_bytes()
    for position in range(0, len(whole), 7):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 4]) + whole[position + 1 :])
        spool = Spool(tmp_path, time.time)
        assert drain(spool) == []
        assert spool.pending_gap() is not None
        spool.close()


def test_a_report_that_breaks_on_disk_while_it_waits_does_not_stop_the_others(tmp_path: Path) -> None:
    spool = Spool(tmp_path, time.time)
    spool.append(make_report("r0"))
    spool.append(make_report("r1"))
    files(tmp_path, ".report")[0].write_bytes(b"")
    assert [r.id for r in drain(spool)] == ["r1"]
    assert spool.pending_gap() is not None


def test_an_unfinished_write_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "0000000000000001.part").write_bytes(b"half")
    spool = Spool(tmp_path, time.time)
    assert len(spool) == 0
    assert not list(tmp_path.iterdir())


def test_a_full_spool_keeps_findings_refuses_and_tells_the_gap(tmp_path: Path) -> None:
    clock = [100.0]
    spool = Spool(tmp_path, lambda: clock[0], max_bytes=5 * 4096)
    for n in range(5):
        spool.append(make_report(f"r{n}"))
    for n in range(3):
        clock[0] += 1
        with pytest.raises(TemporaryError) as refusal:
            spool.append(make_report(f"lost{n}"))
        assert refusal.value.code == "SpoolFull"
    assert [r.id for r in drain(spool)] == [f"r{n}" for n in range(5)]
    spool.append(make_report("after"))
    (after,) = drain(spool)
    assert after.gaps == (Gap(since=101.0, until=103.0, reason=after.gaps[0].reason, events_lost=3),)
    spool.append(make_report("told once"))
    assert drain(spool)[0].gaps == ()


def test_good_news_that_a_later_report_repeats_makes_room_for_findings(tmp_path: Path) -> None:
    spool = Spool(tmp_path, time.time, max_bytes=4 * 4096)
    one, two = make_container(container_id="one"), make_container(container_id="two")
    spool.append(make_report("one is well", findings=0, container=one))
    spool.append(make_report("two is well", findings=0, container=two))
    spool.append(make_report("one drifted", container=one))
    spool.append(make_report("one is well again", findings=0, container=one))
    spool.append(make_report("two drifted", container=two))
    assert spool.replaced == 2
    assert [r.id for r in drain(spool)] == ["one drifted", "one is well again", "two drifted"]
    assert spool.pending_gap() is None


def test_findings_gaps_and_outcomes_are_never_good_news() -> None:
    well = make_report("r", findings=0)
    assert describe(well).replaceable
    assert not describe(make_report("r")).replaceable
    assert not describe(replace(well, gaps=(Gap(since=0.0, until=1.0, reason="x"),))).replaceable
    outcome = CommandOutcome(command_id="c", succeeded=True, message="", at=1.0)
    assert not describe(replace(well, outcomes=(outcome,))).replaceable


def test_one_directory_serves_one_process(tmp_path: Path) -> None:
    spool = Spool(tmp_path, time.time)
    with pytest.raises(TemporaryError, match="another process"):
        Spool(tmp_path, time.time)
    spool.close()
    Spool(tmp_path, time.time).close()


@pytest.fixture
def small_disk(root: None, tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)], check=True)
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def test_a_full_disk_is_worth_another_try_and_is_told(small_disk: Path) -> None:
    spool = Spool(small_disk / "spool", time.time)
    kept = 0
    with pytest.raises(TemporaryError) as refusal:
        for kept in range(100):
            spool.append(make_report(f"r{kept}"))
    assert refusal.value.code == "DiskFull"
    assert 0 < kept < 20
    assert not files(small_disk / "spool", ".part")
    assert [r.id for r in drain(spool)] == [f"r{n}" for n in range(kept)]
    spool.append(make_report("after"))
    assert drain(spool)[0].gaps[0].events_lost == 1
    spool.close()


def test_a_report_too_large_for_the_cluster_is_split_and_loses_no_finding(tmp_path: Path) -> None:
    verdicts = tuple(make_report(f"v{n}", findings=4, container=make_container(container_id=f"c{n}")).verdicts[0] for n in range(10))
    report = Report(id="big", node=NODE, at=1.0, verdicts=verdicts, gaps=(Gap(since=0.0, until=1.0, reason="x"),), tier="A")
    parts = split(report, 12_000)
    assert len(parts) > 2
    assert all(len(encode(part)) <= 12_000 for part in parts)
    assert tuple(v for part in parts for v in part.verdicts) == verdicts
    assert [g for part in parts for g in part.gaps] == list(report.gaps)
    assert len({part.id for part in parts}) == len(parts)
    assert split(report, 1 << 20) == (report,)


def test_a_verdict_too_large_alone_keeps_its_worst_findings_and_counts_the_rest() -> None:
    report = make_report("big", findings=50)
    (_, part) = split(report, 12_000)
    (verdict,) = part.verdicts
    assert len(encode(part)) <= 12_000
    assert verdict.findings
    assert verdict.aggregates[-1].rule == TOO_LARGE
    assert len(verdict.findings) + verdict.aggregates[-1].count == 50


def test_coverage_that_fits_in_no_report_is_an_error_not_a_silence() -> None:
    with pytest.raises(InputError):
        split(replace(make_report("big"), tier="x" * 5000), 4000)
