"""The default rules: what people hear of, what is only counted, and what is said when nothing could be seen."""

from __future__ import annotations

from dataclasses import replace

import pytest

from intact.compare.differ import compare
from intact.compare.judge import MAX_FINDINGS, judge, judge_layers
from intact.compare.rules import RULES
from intact.model.entry import Entry, Kind
from intact.model.finding import Change, Difference, Level, State, Verdict
from intact.model.observation import Observation, Unobserved
from tests.unit.trees import CONTAINER, directory, file, image, link, seen

INDEX = file(b"/usr/share/nginx/html/index.html", b"<h1>")
SUDO = file(b"/usr/bin/sudo", b"elf", 0o4755)
LOG = file(b"/var/log/dpkg.log", b"log")
SHADOW = file(b"/etc/shadow", b"root:*", 0o640)
CONF = file(b"/etc/nginx/nginx.conf", b"conf")
APP = file(b"/srv/app/main.py", b"print()")
README = file(b"/srv/app/README", b"text")
IMAGE = image(
    INDEX, SUDO, LOG, SHADOW, CONF, APP, README, link(b"/var/run", b"/run"), directory(b"/run"), directory(b"/tmp", 0o1777),
    directory(b"/srv/uploads"), directory(b"/var/lib/data"), link(b"/usr/bin/python", b"python3"), directory(b"/etc/conf.d"),
)  # fmt: skip


def look(observation: Observation) -> Verdict:
    return judge(IMAGE, observation, compare(IMAGE, observation))


def rule_of(verdict: Verdict) -> tuple[str, Level | None]:
    """The one rule that spoke, and its level; None if it was only counted."""
    if verdict.findings:
        (finding,) = verdict.findings
        return finding.rule, finding.level
    (aggregate,) = verdict.aggregates
    return aggregate.rule, None


@pytest.mark.parametrize(
    ("what", "rule", "level"),
    [
        (replace(INDEX, digest=CONF.digest), "image-file-changed", Level.MEDIUM),
        (replace(APP, size_bytes=1), "image-file-changed", Level.HIGH),
        (replace(README, uid=33), "image-file-changed", Level.MEDIUM),
        (replace(README, mode=0o755), "image-file-changed", Level.HIGH),
        (replace(SHADOW, mode=0o666), "image-file-changed", Level.HIGH),
        (link(b"/usr/bin/python", b"/tmp/x"), "image-file-changed", Level.HIGH),
        (replace(SUDO, mode=0o755), "image-file-changed", Level.MEDIUM),
        (replace(SUDO, digest=APP.digest), "privilege-bits", Level.CRITICAL),
        (replace(README, mode=0o4644), "privilege-bits", Level.CRITICAL),
        (replace(README, xattrs=((b"security.capability", b"\1"),)), "privilege-bits", Level.CRITICAL),
        (file(b"/tmp/x", mode=0o2755), "privilege-bits", Level.HIGH),
        (file(b"/tmp/x", mode=0o4755, uid=1000), "privilege-bits", Level.HIGH),
        (file(b"/usr/share/nginx/html/shell.php"), "code-added", Level.HIGH),
        (file(b"/usr/share/nginx/html/.htaccess"), "code-added", Level.HIGH),
        (file(b"/usr/share/nginx/html/new/dir/shell.php"), "code-added", Level.HIGH),
        (file(b"/usr/share/nginx/html/phishing.html"), "code-added", Level.HIGH),
        (file(b"/srv/app/extra.py"), "code-added", Level.HIGH),
        (file(b"/srv/app/tool", mode=0o755), "code-added", Level.HIGH),
        (file(b"/srv/app/__pycache__/main.cpython-311.pyc"), "bytecode-cache-added", Level.LOW),
        (file(b"/srv/app/__pycache__/other.cpython-311.pyc"), "code-added", Level.HIGH),
        (file(b"/srv/app/main.pyc"), "code-added", Level.HIGH),
        (file(b"/etc/cron.d/job"), "control-file-added", Level.HIGH),
        (file(b"/root/.ssh/authorized_keys"), "control-file-added", Level.HIGH),
        (file(b"/usr/lib/python3/dist-packages/evil.pth"), "control-file-added", Level.HIGH),
        (file(b"/usr/local/bin/tool", mode=0o755), "control-file-added", Level.HIGH),
        (file(b"/usr/lib/x86_64-linux-gnu/libevil.so.1"), "control-file-added", Level.HIGH),
        (file(b"/etc/nginx/conf.d/new.conf"), "control-file-added", Level.MEDIUM),
        (file(b"/etc/ld.so.preload", b""), "control-file-added", Level.HIGH),
        (file(b"/etc/hostname", b"evil"), "control-file-added", Level.MEDIUM),
        (Entry(path=b"/tmp/sda", kind=Kind.BLOCK, mode=0o600, device=(8, 0)), "device-node-added", Level.HIGH),
        (link(b"/var/log/dpkg.log", b"/etc/shadow"), "image-file-changed", Level.MEDIUM),
        (replace(LOG, size_bytes=0, mode=0o755), "image-file-changed", Level.HIGH),
        (replace(LOG, size_bytes=0), "image-log-changed", None),
        (directory(b"/var/lib/data", 0o700), "image-directory-metadata", None),
        (directory(b"/srv/app", 0o777), "image-file-changed", Level.MEDIUM),
        (directory(b"/etc/conf.d", 0o777), "image-file-changed", Level.MEDIUM),
        (file(b"/srv/uploads/shell.php"), "code-in-scratch", None),
        (file(b"/tmp/x.sh", mode=0o755), "code-in-scratch", None),
        (file(b"/srv/app/app.pid"), "data-added", None),
        (directory(b"/etc/new"), "data-added", None),
        (Entry(path=b"/run/x.sock", kind=Kind.SOCKET, mode=0o777), "data-added", None),
    ],
)  # fmt: skip
def test_a_default_rule_speaks(what: Entry, rule: str, level: Level | None) -> None:
    assert rule_of(look(seen(what))) == (rule, level)


def test_removed_image_files_are_findings_and_removed_image_logs_are_not() -> None:
    assert rule_of(look(seen(absent=(SUDO.path,)))) == ("image-file-changed", Level.HIGH)
    assert rule_of(look(seen(absent=(README.path,)))) == ("image-file-changed", Level.MEDIUM)
    assert rule_of(look(seen(absent=(LOG.path,)))) == ("image-log-changed", None)


@pytest.mark.parametrize(
    "stub",
    [file(b"/etc/hostname", b"", 0o755), directory(b"/run/secrets"), directory(b"/run/secrets/kubernetes.io"), directory(b"/opt/volume")],
)
def test_an_empty_stub_of_the_runtime_is_not_drift(stub: Entry) -> None:
    targets = (b"/etc/hostname", b"/var/run/secrets/kubernetes.io/serviceaccount", b"/opt/volume")
    assert rule_of(look(seen(stub, targets=targets))) == ("runtime-stub", None)


def test_a_mount_target_with_bytes_or_rights_is_no_stub() -> None:
    targets = (b"/etc/hostname",)
    assert rule_of(look(seen(file(b"/etc/hostname", b"bytes"), targets=targets)))[0] == "control-file-added"
    assert rule_of(look(seen(file(b"/etc/hostname", b"", 0o4755), targets=targets)))[0] == "privilege-bits"
    assert rule_of(look(seen(file(b"/etc/hosts", b""), targets=targets)))[0] == "control-file-added"


def test_links_that_go_round_in_the_image_hide_nothing() -> None:
    loop = image(link(b"/a", b"/b"), link(b"/b", b"/a"), directory(b"/etc"))
    observation = seen(file(b"/etc/x", b""), targets=(b"/a/x",))
    assert rule_of(judge(loop, observation, compare(loop, observation)))[0] == "control-file-added"


def test_nothing_different_is_intact() -> None:
    verdict = look(seen(INDEX, SUDO))
    assert (verdict.state, verdict.findings, verdict.aggregates, verdict.unobserved) == (State.INTACT, (), (), ())
    assert verdict.baseline_root == IMAGE.root
    assert verdict.at == 100.0


def test_silent_differences_are_counted_and_leave_the_container_intact() -> None:
    verdict = look(seen(*(file(b"/tmp/sess_%d" % i) for i in range(500))))
    assert verdict.state is State.INTACT
    assert [(a.pattern, a.rule, a.count) for a in verdict.aggregates] == [("/tmp/*", "data-added", 500)]


def test_the_number_of_patterns_is_bounded_and_every_path_is_counted() -> None:
    verdict = look(seen(*(file(b"/new%d/x" % i) for i in range(300))))
    assert len(verdict.aggregates) <= 65
    assert sum(a.count for a in verdict.aggregates) == 300


def test_a_file_of_the_same_size_that_nobody_read_is_never_clean() -> None:
    verdict = look(seen(replace(SUDO, digest=None)))
    assert verdict.state is State.UNOBSERVED
    assert [u.path for u in verdict.unobserved] == [SUDO.path]


def test_the_observers_reason_is_kept_and_said_once() -> None:
    reason = Unobserved(path=SUDO.path, reason="it does not hold still")
    assert look(seen(replace(SUDO, digest=None), unobserved=(reason,))).unobserved == (reason,)


def test_findings_make_it_drifted_and_what_was_not_seen_is_listed_all_the_same() -> None:
    verdict = look(seen(file(b"/etc/cron.d/x"), unobserved=(Unobserved(path=b"/srv", reason="EIO"),)))
    assert (verdict.state, len(verdict.unobserved)) == (State.DRIFTED, 1)


def test_entries_that_were_left_out_keep_a_container_from_being_intact() -> None:
    assert look(seen(unlisted=3)).state is State.UNOBSERVED


def test_more_findings_than_one_verdict_holds_are_counted_and_the_gravest_are_kept() -> None:
    flood = [file(b"/etc/flood%04d" % i) for i in range(3 * MAX_FINDINGS)]
    verdict = look(seen(*flood, file(b"/zz", mode=0o4755)))
    assert len(verdict.findings) == MAX_FINDINGS
    assert verdict.findings[0].rule == "privilege-bits"
    assert verdict.untold == 2 * MAX_FINDINGS + 1
    assert sum(a.count for a in verdict.aggregates if a.rule == "control-file-added") == verdict.untold


def test_a_changed_read_only_layer_is_high_whatever_changed() -> None:
    difference = Difference(path=b"/tmp/x", change=Change.ADDED, expected=None, actual=file(b"/tmp/x"))
    verdict = judge_layers(CONTAINER, IMAGE, [difference], (), 5.0)
    assert rule_of(verdict) == ("read-only-layer-changed", Level.HIGH)
    assert judge_layers(CONTAINER, IMAGE, (), (), 5.0).state is State.INTACT
    assert judge_layers(CONTAINER, IMAGE, (), (Unobserved(path=b"/", reason="EIO"),), 5.0).state is State.UNOBSERVED


def test_every_rule_gives_only_levels_it_names_and_says_what_it_means() -> None:
    assert all(rule.id == name and rule.sentence.endswith(".") for name, rule in RULES.items())
