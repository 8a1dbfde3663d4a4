"""Laws of the default rules: what no rule may ever be silent about, whatever surrounds it."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import assume, given
from hypothesis import strategies as st

from intact.compare import places
from intact.compare.differ import compare
from intact.compare.interest import choose_reading, speak_for
from intact.compare.judge import find_candidates, judge
from intact.compare.raised import NEVER_RAISED, Raised
from intact.compare.rules import DERIVABLE, Judge
from intact.decide.expect import assess
from intact.decide.govern import plan_levels
from intact.model.derivation import Derivation, Proof
from intact.model.entry import Entry, Kind, ancestors
from intact.model.finding import Change, Finding, Level, Verdict
from intact.model.layer import Baseline
from intact.model.observation import Observation, Reading
from intact.model.policy import Expectation, PathLevel, Policy
from intact.model.seam import PlannedLevel
from tests.unit.trees import directory, file, image, link, seen

NOW = 1_000.0
DIRECTORIES = st.sampled_from(
    [b"", b"/tmp", b"/etc", b"/etc/cron.d", b"/usr/bin", b"/usr/lib/python3/dist-packages", b"/srv/app", b"/srv/app/__pycache__",
     b"/var/log", b"/var/lib/data", b"/root", b"/root/.ssh", b"/home/x/.config", b"/usr/share/nginx/html", b"/app/node_modules/a",
     b"/run", b"/var/spool/cron", b"/usr/local/lib", b"/opt/x/conf", b"/var/www/logs"]
)  # fmt: skip
NAMES = st.sampled_from(
    [b"a", b"x.log", b"x.php", b"x.so", b"main.py", b"main.cpython-311.pyc", b"authorized_keys", b".bashrc", b"passwd", b"x.pth",
     b"x.log.php", b"index.html", b"sitecustomize.py", b"\xff\n"]
)  # fmt: skip
PATHS = st.builds(lambda above, name: above + b"/" + name, DIRECTORIES, NAMES)
MODES = st.sampled_from([0o600, 0o644, 0o755, 0o777])


@st.composite
def files(draw: st.DrawFn, path: bytes | None = None) -> Entry:
    return file(path or draw(PATHS), draw(st.binary(min_size=1, max_size=3)), draw(MODES))


@st.composite
def images(draw: st.DrawFn) -> Baseline:
    entries: dict[bytes, Entry] = {}
    for entry in draw(st.lists(files(), max_size=6)):
        if entry.path not in entries and not any(above in entries for above in ancestors(entry.path)):
            entries[entry.path] = entry
    for path in draw(st.lists(DIRECTORIES, max_size=4)):
        if path and path not in entries and not any(above in entries for above in ancestors(path)):
            entries[path] = directory(path)
    return image(*entries.values())


@st.composite
def looks(draw: st.DrawFn, now: Entry | None, gone: bytes | None = None) -> tuple[tuple[Entry, ...], dict[str, tuple[bytes, ...]]]:
    """`now` among whatever the rest of the container may be, with any word on where it comes from."""
    path = now.path if now is not None else gone
    assert path is not None
    others = [entry for entry in draw(st.lists(files(), max_size=3)) if entry.path != path]
    targets = tuple(draw(st.lists(PATHS, max_size=2))) + draw(st.sampled_from([(), (path,), (path + b"/x",)]))
    return tuple(others) + ((now,) if now is not None else ()), {"targets": targets, "absent": (gone,) if gone is not None else ()}


def see(present: tuple[Entry, ...], more: dict[str, tuple[bytes, ...]]) -> Observation:
    return seen(*{entry.path: entry for entry in present}.values(), targets=more["targets"], absent=more["absent"])


def told(
    baseline: Baseline, present: tuple[Entry, ...], more: dict[str, tuple[bytes, ...]], proof: Proof
) -> tuple[Verdict, dict[bytes, Level]]:
    observation = see(present, more)
    differences = compare(baseline, observation)
    derivations = {difference.path: Derivation(proof=proof) for difference in differences}
    verdict = judge(baseline, observation, differences, derivations)
    return verdict, {finding.difference.path: finding.level for finding in verdict.findings}


@given(images(), st.data())
def test_no_rule_is_silent_about_files_that_run_with_other_rights(baseline: Baseline, data: st.DataObject) -> None:
    one = data.draw(files())
    one = data.draw(
        st.sampled_from(
            [
                replace(one, mode=one.mode | 0o4000),
                replace(one, mode=one.mode | 0o2000),
                replace(one, xattrs=((b"security.capability", b"\1"),)),
            ]
        )
    )
    present, more = data.draw(looks(one))
    assert told(baseline, present, more, data.draw(st.sampled_from(Proof)))[1][one.path] >= Level.HIGH


@given(images(), st.data())
def test_no_rule_is_silent_about_a_changed_file_of_the_image_that_is_no_log(baseline: Baseline, data: st.DataObject) -> None:
    originals = [entry for entry in baseline.scan() if entry.kind is Kind.FILE]
    assume(originals)
    before = data.draw(st.sampled_from(originals))
    is_in_a_place_for_logs = before.path.startswith((b"/var/log/", b"/var/www/logs/"))
    assume(not is_in_a_place_for_logs or before.mode & 0o111 or before.path.endswith((b".php", b".py", b".so", b".pyc", b".pth", b".html")))
    after = data.draw(
        st.sampled_from(
            [replace(before, digest=file(b"/x", b"another").digest), replace(before, mode=before.mode ^ 0o002), replace(before, uid=7),
             replace(before, size_bytes=9, digest=None), link(before.path, b"/tmp/x"), directory(before.path), None]
        )
    )  # fmt: skip
    present, more = data.draw(looks(after, before.path if after is None else None))
    assert told(baseline, present, more, data.draw(st.sampled_from(Proof)))[1][before.path] >= Level.MEDIUM


@given(images(), st.data())
def test_no_rule_is_silent_about_added_credentials_and_what_starts_by_itself(baseline: Baseline, data: st.DataObject) -> None:
    one = data.draw(files())
    assume(places.is_credential(one.path) or places.is_autostart(one.path) or places.is_configuration(one.path))
    assume(baseline.find(one.path) is None)
    if data.draw(st.booleans()):
        one = link(one.path, b"/tmp/x")
    present, more = data.draw(looks(one))
    level = told(baseline, present, more, data.draw(st.sampled_from(Proof)))[1][one.path]
    assert level >= (Level.HIGH if places.is_credential(one.path) or places.is_autostart(one.path) else Level.LOW)


@given(images(), st.data())
def test_code_where_the_image_has_code_is_silent_only_if_it_is_derived(baseline: Baseline, data: st.DataObject) -> None:
    beside = [entry for entry in baseline.scan() if entry.kind is Kind.FILE and places.is_code_like(entry)]
    assume(beside)
    one = file(data.draw(st.sampled_from(beside)).path + b"x.php", b"<?php")
    assume(baseline.find(one.path) is None)
    present, more = data.draw(looks(one))
    proof = data.draw(st.sampled_from(Proof))
    assert (one.path in told(baseline, present, more, proof)[1]) or proof is Proof.DERIVED


@given(images(), st.data())
def test_nothing_is_asked_for_its_origin_that_its_origin_would_not_excuse(baseline: Baseline, data: st.DataObject) -> None:
    one = data.draw(files())
    present, more = data.draw(looks(one))
    observation = see(present, more)
    differences = compare(baseline, observation)
    by_path = {difference.path: difference for difference in differences}
    for candidate in find_candidates(baseline, observation, differences):
        assert by_path[candidate.path].change is Change.ADDED
        derived = judge(baseline, observation, differences, {candidate.path: Derivation(proof=Proof.DERIVED)})
        assert candidate.path not in {finding.difference.path for finding in derived.findings}


@given(images(), st.data())
def test_every_difference_is_told_or_counted_once(baseline: Baseline, data: st.DataObject) -> None:
    present, more = data.draw(looks(data.draw(files())))
    observation = see(present, more)
    differences = compare(baseline, observation)
    verdict = judge(baseline, observation, differences)
    assert len(verdict.findings) + sum(aggregate.count for aggregate in verdict.aggregates) == len(differences)


PATTERNS = st.sampled_from(
    ["/**", "/var/lib/data/**", "/tmp/*.php", "*.log", "/srv/app/", "/etc/*", "!/srv/app/x.php", "/usr/bin/a", "*.py", "/run/"]
)
PATH_LISTS = st.lists(PATTERNS, min_size=1, max_size=3).map(tuple)
EXPECTATIONS = st.builds(
    Expectation,
    paths=PATH_LISTS,
    changes=st.sampled_from([(), (Change.ADDED,), (Change.MODIFIED, Change.DELETED), (Change.EXECUTED,)]),
    grows=st.booleans(),
    until=st.sampled_from([None, NOW, NOW + 1.0]),
)
POLICIES = st.builds(
    Policy,
    name=st.just("any"),
    levels=st.lists(st.builds(PathLevel, paths=PATH_LISTS, level=st.sampled_from(Level)), max_size=3).map(tuple),
    expect=st.lists(EXPECTATIONS, max_size=3).map(tuple),
)


@given(images(), POLICIES, st.data())
def test_what_is_only_counted_is_told_just_where_the_policy_gives_it_a_level(
    baseline: Baseline, policy: Policy, data: st.DataObject
) -> None:
    """The node, which knows only its plan, tells what people are told under the policy, and of the rest as much as it counted before."""
    present, more = data.draw(looks(data.draw(files())))
    observation = replace(see(present, more), started_at=NOW)
    differences = compare(baseline, observation)
    levels = plan_levels(policy)
    before = {finding.difference.path: finding for finding in judge(baseline, observation, differences).findings}
    verdict = judge(baseline, observation, differences, levels=levels)
    after = {finding.difference.path: finding for finding in verdict.findings}
    assert before.items() <= after.items(), "no rule tells less"
    assert len(after) + sum(one.count for one in verdict.aggregates) == len(differences)
    counting = Judge(baseline, observation.scope, observation.targets)
    for difference in differences:
        if difference.path in before:
            continue
        rule = counting.consider(difference).rule
        counted = Finding(
            container=observation.container,
            difference=difference,
            level=Level.INFO,
            rule=rule,
            scope=observation.scope,
            baseline_root=baseline.root,
            grade=baseline.grade,
            observed_at=NOW,
        )
        wanted = None if rule in NEVER_RAISED else assess(counted, policy, NOW)
        told_now = after.get(difference.path)
        if wanted is not None and wanted > Level.INFO:
            assert told_now is not None and (told_now.rule, told_now.level) == (rule, wanted)
        elif told_now is not None:
            assert rule not in NEVER_RAISED and assess(told_now, policy, NOW) is None, "more than is wanted is told only if it is excused"


@given(images(), POLICIES, st.data())
def test_what_is_raised_is_listed_and_read(baseline: Baseline, policy: Policy, data: st.DataObject) -> None:
    """Whoever chooses what to keep and what to read knows of everything that will be told."""
    present, more = data.draw(looks(data.draw(files())))
    observation = replace(see(present, more), started_at=NOW)
    raised = Raised(plan_levels(policy), NOW)
    speaks, choose = speak_for(baseline, observation.targets, raised), choose_reading(baseline, observation.targets, raised)
    verdict = judge(baseline, observation, compare(baseline, observation), levels=raised.levels)
    for entry in [finding.difference.actual for finding in verdict.findings if finding.difference.expected is None]:
        assert entry is not None and speaks(entry)
        assert choose(entry, None) is Reading.WHOLE


@given(images(), st.data())
def test_code_is_never_told_less_gravely_than_data_in_its_place(baseline: Baseline, data: st.DataObject) -> None:
    """Else a first line would hide a file; and whoever chooses what to read asks of code first."""
    present, more = data.draw(looks(data.draw(files())))
    observation = see(present, more)
    for difference in compare(baseline, observation):
        if difference.change is not Change.UNREAD:
            as_data = Judge(baseline, observation.scope).consider(difference)
            as_code = Judge(baseline, observation.scope, runnable=frozenset({difference.path})).consider(difference)
            assert (as_code.level or 0) >= (as_data.level or 0)


@given(images(), st.data())
def test_what_is_no_difference_is_never_raised(baseline: Baseline, data: st.DataObject) -> None:
    """What derives from the image, and what the runtime made, whatever the policy says."""
    one = data.draw(files())
    present, more = data.draw(looks(one))
    observation = see(present, more)
    differences = compare(baseline, observation)
    derived = {difference.path: Derivation(proof=Proof.DERIVED) for difference in differences}
    everything = (PlannedLevel(paths=("/**",), level=Level.CRITICAL),)
    for finding in judge(baseline, observation, differences, derived, levels=everything).findings:
        assert finding.rule not in NEVER_RAISED and finding.rule not in DERIVABLE - {"data-added"}
