"""What of that which runs and is mounted people are told, and what a normal service may do without a word."""

from __future__ import annotations

from dataclasses import replace

import pytest

from intact.compare.live import find_derivable, judge_live, paths_to_compare
from intact.model.container import Container, DeclaredMount, Mounted
from intact.model.derivation import Derivation, Proof
from intact.model.digest import Digest
from intact.model.entry import Entry, Kind
from intact.model.finding import Change, Difference, Level, State, Verdict
from intact.model.layer import Baseline, Grade, MemoryTable, Record
from intact.model.live import Brought, Departed, Departure, LiveLook, MountSeen, Place, Rewritten, Run, Runner
from intact.model.observation import Scope, Unobserved
from intact.model.seam import PlannedLevel

CONTAINER = Container(id="c", name="web", image="i", image_key=None, node="n")
PROGRAM, CHANGED = Digest.of(b"program"), Digest.of(b"changed")
DEVICE, TMPFS, DISK = 39, 50, 65024


def _record(path: bytes, kind: Kind = Kind.FILE, target: bytes = b"") -> Record:
    digest = PROGRAM if kind is Kind.FILE else None
    return Record(path=path, entry=Entry(path=path, kind=kind, mode=0o755, size_bytes=7, digest=digest, target=target))


BASELINE = Baseline(
    key=Digest.of(b""),
    layers=(
        MemoryTable(
            Digest.of(b"l"),
            Digest.of(b"d"),
            (
                _record(b"/bin", Kind.DIRECTORY),
                _record(b"/bin/tool"),
                _record(b"/data", Kind.DIRECTORY),
                _record(b"/etc", Kind.DIRECTORY),
                _record(b"/etc/passwd"),
                _record(b"/run", Kind.DIRECTORY),
                _record(b"/usr/sbin/varnishd"),
                _record(b"/var/run", Kind.SYMLINK, b"/run"),
            ),
        ),
    ),
    grade=Grade.VERIFIED,
    source="test",
)
MOUNTED = Mounted(
    upper=b"/upper",
    lowers=(b"/lower",),
    device=DEVICE,
    mounts=(
        DeclaredMount(target=b"/proc", kind="proc", options=("nosuid", "noexec", "nodev")),
        DeclaredMount(target=b"/dev", kind="tmpfs", options=("nosuid", "strictatime")),
        DeclaredMount(target=b"/dev/shm", kind="bind", options=("rbind", "ro", "rw", "noexec")),
        DeclaredMount(target=b"/data", kind="bind", options=("rbind", "rprivate", "rw")),
        DeclaredMount(target=b"/var/run/secrets", kind="bind", options=("rbind", "ro")),
        DeclaredMount(target=b"/run/cache", kind="tmpfs"),
    ),
)
INIT = Runner(pid=10, started_ticks=1, executable=b"/bin/tool", is_init=True)
SHELL = Runner(pid=11, started_ticks=2, executable=b"/bin/tool")


def _mount(target: bytes, device: int = TMPFS, kind: bytes = b"tmpfs", flags: str = "rw", by: Runner | None = None) -> MountSeen:
    return MountSeen(target=target, kind=kind, source=b"evil", root=b"/", device=device, flags=tuple(flags.split(",")), by=by)


DECLARED = (
    _mount(b"/", DEVICE, b"overlay"),
    _mount(b"/proc", 42, b"proc", "rw,nosuid,nodev,noexec"),
    _mount(b"/dev", 43, flags="rw,nosuid"),
    _mount(b"/dev/shm", 44, flags="rw,noexec"),
    _mount(b"/data", DISK, b"ext4"),
    _mount(b"/run/secrets", 45, flags="ro"),
    _mount(b"/run/cache", 46),
)


def judge(
    *runs: Run,
    mounts: tuple[MountSeen, ...] = DECLARED,
    departed: tuple[Departed, ...] = (),
    differences: dict[bytes, Difference] | None = None,
    mounted: Mounted = MOUNTED,
    with_volumes: bool = False,
    levels: tuple[PlannedLevel, ...] = (),
    brought: tuple[Brought, ...] = (),
    rewritten: tuple[Rewritten, ...] = (),
) -> Verdict:
    look = LiveLook(
        container=CONTAINER,
        runs=runs,
        departed=departed,
        mounts=mounts,
        brought=brought,
        rewritten=rewritten,
        processes=1,
        at=5.0,
    )
    return judge_live(BASELINE, mounted, look, differences or {}, with_volumes=with_volumes, levels=levels)


def told(verdict: Verdict) -> list[tuple[bytes, str, Level]]:
    assert all(f.scope is Scope.LIVE and f.observed_at == 5.0 for f in verdict.findings)
    return [(f.difference.path, f.rule, f.level) for f in verdict.findings]


def _added(path: bytes) -> dict[bytes, Difference]:
    actual = Entry(path=path, kind=Kind.FILE, mode=0o644, size_bytes=7, digest=CHANGED)
    return {path: Difference(path=path, change=Change.ADDED, expected=None, actual=actual)}


def test_what_the_configuration_mounts_is_silent() -> None:
    verdict = judge()
    assert (verdict.state, verdict.findings, verdict.aggregates, verdict.scope) == (State.INTACT, (), (), Scope.LIVE)


@pytest.mark.parametrize("is_mapped", [False, True])
def test_an_added_file_that_runs_is_told_whatever_its_mode(is_mapped: bool) -> None:
    run = Run(path=b"/tmp/x", place=Place.UPPER, by=SHELL, is_mapped=is_mapped)
    (finding,) = judge(run, differences=_added(b"/tmp/x")).findings
    assert (finding.rule, finding.level, finding.difference.change) == ("not-of-the-image-executed", Level.HIGH, Change.EXECUTED)
    assert "pid 11" in finding.process and "added" in finding.difference.reason
    assert finding.difference.actual is not None and finding.difference.actual.digest == CHANGED


def test_an_added_file_is_told_though_the_look_at_the_layer_left_it_out() -> None:
    """Data that no rule speaks for is only counted there: it is a program as soon as it runs."""
    assert told(judge(Run(path=b"/tmp/x", place=Place.UPPER, by=SHELL))) == [(b"/tmp/x", "not-of-the-image-executed", Level.HIGH)]


def test_a_library_that_is_a_member_of_an_archive_of_the_image_is_silent() -> None:
    look = LiveLook(container=CONTAINER, runs=(Run(path=b"/tmp/x", place=Place.UPPER, by=SHELL, is_mapped=True),))
    proofs = {proof: {b"/tmp/x": Derivation(proof=proof)} for proof in Proof}
    assert [entry.path for entry in find_derivable(look, _added(b"/tmp/x"))] == [b"/tmp/x"]
    states = {proof: judge_live(BASELINE, MOUNTED, look, _added(b"/tmp/x"), derivations=one).state for proof, one in proofs.items()}
    assert states == {Proof.DERIVED: State.INTACT, Proof.FORGED: State.DRIFTED, Proof.UNKNOWN: State.DRIFTED}


@pytest.mark.parametrize(
    ("run", "is_told"),
    [
        (Run(path=b"/tmp/x", place=Place.GONE, by=SHELL), True),
        (Run(path=b"/tmp/l.so", place=Place.GONE, by=SHELL, is_mapped=True), True),
        (Run(path=b"/bin/tool", place=Place.GONE, by=SHELL, is_mapped=True), False),
        (Run(path=b"/tmp/l.so", place=Place.GONE, by=replace(SHELL, executable=b"/opt/jdk/bin/java"), is_mapped=True), False),
        (Run(path=b"/tmp/x", place=Place.GONE, by=replace(SHELL, executable=b"/opt/jdk/bin/java")), True),
        (Run(path=b"/memfd:l", place=Place.MEMORY, by=SHELL, is_mapped=True), True),
        (Run(path=b"/memfd:l", place=Place.MEMORY, by=SHELL, is_mapped=True, is_elf=False), False),
        (Run(path=b"/run/x", place=Place.ELSEWHERE, by=SHELL, is_mapped=True), True),
        (Run(path=b"/data/x", place=Place.ELSEWHERE, by=SHELL), False),
    ],
)
def test_of_what_ran_and_is_over_only_that_it_was_there_is_known(run: Run, is_told: bool) -> None:
    """A library that the image has under that name is replaced by an upgrade; a Java virtual machine unpacks, loads and removes its own."""
    look = LiveLook(container=CONTAINER, runs=(run,), mounts=DECLARED, is_past=True, at=5.0)
    assert bool(told(judge_live(BASELINE, MOUNTED, look, {}))) is is_told


def test_a_look_back_says_nothing_of_what_is_mounted() -> None:
    assert judge_live(BASELINE, MOUNTED, LiveLook(container=CONTAINER, is_past=True), {}).state is State.INTACT


def test_a_program_is_told_though_an_archive_of_the_image_holds_it() -> None:
    look = LiveLook(container=CONTAINER, runs=(Run(path=b"/tmp/x", place=Place.UPPER, by=SHELL),))
    assert find_derivable(look, _added(b"/tmp/x")) == ()
    derived = {b"/tmp/x": Derivation(proof=Proof.DERIVED)}
    assert judge_live(BASELINE, MOUNTED, look, _added(b"/tmp/x"), derivations=derived).state is State.DRIFTED


def test_a_library_that_was_unpacked_loaded_and_removed_is_asked_about_too() -> None:
    run = Run(path=b"/tmp/snappy.so", place=Place.GONE, by=SHELL, is_mapped=True, is_elf=True, digest=CHANGED, size_bytes=7)
    look = LiveLook(container=CONTAINER, runs=(run,))
    (entry,) = find_derivable(look, {})
    assert (entry.path, entry.size_bytes, entry.digest) == (b"/tmp/snappy.so", 7, CHANGED)
    derived = {b"/tmp/snappy.so": Derivation(proof=Proof.DERIVED)}
    assert judge_live(BASELINE, MOUNTED, look, {}, derivations=derived).state is State.INTACT
    assert judge_live(BASELINE, MOUNTED, look, {}).state is State.DRIFTED


def test_an_image_file_that_was_copied_up_and_is_the_same_is_silent() -> None:
    run = Run(path=b"/bin/tool", place=Place.UPPER, by=INIT)
    assert paths_to_compare(LiveLook(container=CONTAINER, runs=(run,))) == {b"/bin/tool"}
    assert judge(run).state is State.INTACT


def test_an_image_file_that_was_deleted_while_it_runs_is_not_told_again() -> None:
    """An upgrade of a package in the container: that the file changed is told by the look at the writable layer."""
    assert judge(Run(path=b"/bin/tool", place=Place.GONE, by=INIT, digest=PROGRAM, is_elf=True)).state is State.INTACT
    other = Run(path=b"/bin/tool", place=Place.GONE, by=SHELL, digest=CHANGED, is_elf=True)
    assert told(judge(other)) == [(b"/bin/tool", "not-of-the-image-executed", Level.HIGH)]


def test_a_nameless_file_that_nobody_could_read_is_told() -> None:
    assert told(judge(Run(path=b"/t/x", place=Place.GONE, by=SHELL))) == [(b"/t/x", "not-of-the-image-executed", Level.HIGH)]


def test_a_program_in_memory_is_told_and_compiled_code_in_memory_is_not() -> None:
    program = Run(path=b"/memfd:x", place=Place.MEMORY, by=SHELL, digest=CHANGED, is_elf=False)
    assert told(judge(program)) == [(b"/memfd:x", "not-of-the-image-executed", Level.HIGH)]
    compiled = Run(path=b"/memfd:vmem", place=Place.MEMORY, by=SHELL, is_mapped=True, is_elf=False)
    zero = Run(path=b"/dev/zero", place=Place.MEMORY, by=SHELL, is_mapped=True, is_elf=None)
    closure = Run(path=b"/tmp/ffi123", place=Place.GONE, by=SHELL, is_mapped=True, is_elf=False)
    assert judge(compiled, zero, closure).state is State.INTACT
    library = Run(path=b"/memfd:vmem", place=Place.MEMORY, by=SHELL, is_mapped=True, is_elf=True, digest=CHANGED)
    assert told(judge(library)) == [(b"/memfd:vmem", "not-of-the-image-executed", Level.HIGH)]


def test_the_first_process_replaced_by_what_is_not_the_images_is_critical() -> None:
    run = Run(path=b"/tmp/x", place=Place.UPPER, by=INIT)
    assert told(judge(run, differences=_added(b"/tmp/x"))) == [(b"/tmp/x", "init-replaced", Level.CRITICAL)]


def test_a_program_of_a_volume_is_counted_unless_somebody_asks() -> None:
    run = Run(path=b"/data/bin/x", place=Place.ELSEWHERE, by=INIT, is_elf=True, digest=CHANGED)
    verdict = judge(run)
    assert (verdict.state, [(a.pattern, a.rule, a.count) for a in verdict.aggregates]) == (
        State.INTACT,
        [("/data/**", "volume-executed", 1)],
    )
    assert told(judge(run, with_volumes=True)) == [(b"/data/bin/x", "volume-executed", Level.MEDIUM)]


def _brought(path: bytes, mode: int = 0o755, xattrs: tuple[tuple[bytes, bytes], ...] = ()) -> Brought:
    return Brought(entry=Entry(path=path, kind=Kind.FILE, mode=mode, size_bytes=7, digest=CHANGED, xattrs=xattrs), changed_at=4.0)


def test_a_program_that_came_into_a_volume_is_told_and_with_rights_of_its_own_the_graver() -> None:
    brought = (_brought(b"/data/x"), _brought(b"/data/y", 0o4755), _brought(b"/data/z", xattrs=((b"security.capability", b"1"),)))
    verdict = judge(brought=brought)
    assert told(verdict) == [
        (b"/data/y", "added-to-volume", Level.HIGH),
        (b"/data/z", "added-to-volume", Level.HIGH),
        (b"/data/x", "added-to-volume", Level.MEDIUM),
    ]
    assert {(one.difference.change, one.changed_at) for one in verdict.findings} == {(Change.ADDED, 4.0)}


def test_a_file_of_the_runtime_that_was_rewritten_is_told_with_what_it_was() -> None:
    before = Entry(path=b"/etc/hosts", kind=Kind.FILE, mode=0o644, size_bytes=3, digest=PROGRAM)
    after = replace(before, size_bytes=7, digest=CHANGED)
    verdict = judge(rewritten=(Rewritten(before=before, entry=after, changed_at=4.0),))
    assert told(verdict) == [(b"/etc/hosts", "runtime-file-changed", Level.MEDIUM)]
    (finding,) = verdict.findings
    difference = finding.difference
    assert (difference.expected, difference.actual, difference.change, finding.changed_at) == (before, after, Change.MODIFIED, 4.0)


def test_a_volume_full_of_programs_hides_nothing_else() -> None:
    crowd = tuple(_brought(b"/data/%03d" % number, 0o4755) for number in range(300))
    mounts = (*DECLARED, _mount(b"/opt/new"))
    verdict = judge(brought=crowd, mounts=mounts)
    assert told(verdict)[0] == (b"/opt/new", "mounted-over", Level.MEDIUM)
    assert len(verdict.findings) + verdict.untold == 301


def test_what_is_only_counted_of_what_runs_and_is_mounted_is_told_where_a_policy_raises_it() -> None:
    run = Run(path=b"/data/bin/x", place=Place.ELSEWHERE, by=INIT, is_elf=True, digest=CHANGED)
    mounts = (*DECLARED, _mount(b"/data/sub"))
    levels = (PlannedLevel(paths=("/data/**",), level=Level.HIGH),)
    assert told(judge(run, mounts=mounts, levels=levels)) == [
        (b"/data/bin/x", "volume-executed", Level.HIGH),
        (b"/data/sub", "mounted-below-volume", Level.HIGH),
    ]
    programs_only = (*levels, PlannedLevel(paths=("/data/**",), level=Level.INFO, changes=(Change.MOUNTED,)))
    assert told(judge(run, mounts=mounts, levels=programs_only)) == [(b"/data/bin/x", "volume-executed", Level.HIGH)]
    assert judge(run, levels=(PlannedLevel(paths=("/other/**",), level=Level.HIGH),)).state is State.INTACT


@pytest.mark.parametrize("path", [b"/dev/shm/x", b"/run/cache/x", b"/nowhere/x"])
def test_a_program_of_a_file_system_that_is_no_volume_is_told(path: bytes) -> None:
    """What the runtime itself mounts is empty at first: programs there were put there from inside."""
    run = Run(path=path, place=Place.ELSEWHERE, by=SHELL)
    assert told(judge(run)) == [(path, "not-of-the-image-executed", Level.HIGH)]


def test_a_process_with_mounts_of_its_own_cannot_pass_its_program_off_as_a_volumes() -> None:
    away = Runner(pid=12, started_ticks=3, executable=b"/data/x", is_away=True)
    run = Run(path=b"/data/x", place=Place.ELSEWHERE, by=away)
    assert told(judge(run)) == [(b"/data/x", "not-of-the-image-executed", Level.HIGH)]


def test_varnish_may_map_what_it_compiles_and_nobody_else_may() -> None:
    varnish = Runner(pid=12, started_ticks=3, executable=b"/usr/sbin/varnishd")
    path = b"/var/lib/varnish/varnishd/vcl_boot.1/vgc.so"
    quiet = Run(path=path, place=Place.UPPER, by=varnish, is_mapped=True)
    assert judge(quiet, differences=_added(path)).state is State.INTACT
    assert len(judge(Run(path=path, place=Place.UPPER, by=SHELL, is_mapped=True), differences=_added(path)).findings) == 1
    assert len(judge(Run(path=path, place=Place.UPPER, by=varnish), differences=_added(path)).findings) == 1


def test_a_mount_over_a_path_of_the_image_is_told_with_what_it_is() -> None:
    (finding,) = judge(mounts=(*DECLARED, _mount(b"/etc"))).findings
    assert (finding.difference.path, finding.rule, finding.level) == (b"/etc", "mounted-over", Level.HIGH)
    assert finding.difference.change is Change.MOUNTED and finding.difference.reason == "tmpfs from evil (rw)"


def test_the_names_of_what_is_mounted_are_shown_harmless() -> None:
    mount = MountSeen(target=b"/etc", kind=b"tmpfs", source=b"\x1b[2J\n" + b"x" * 5000, root=b"/", device=TMPFS)
    (finding,) = judge(mounts=(*DECLARED, mount)).findings
    assert finding.difference.reason.isprintable() and len(finding.difference.reason) < 500


def test_a_mount_where_the_image_has_nothing_is_told_less_gravely() -> None:
    assert told(judge(mounts=(*DECLARED, _mount(b"/mnt/x")))) == [(b"/mnt/x", "mounted-over", Level.MEDIUM)]


def test_a_second_mount_over_a_declared_one_is_told() -> None:
    assert told(judge(mounts=(*DECLARED, _mount(b"/data")))) == [(b"/data", "mounted-over", Level.HIGH)]


def test_a_mount_over_the_root_is_told() -> None:
    assert told(judge(mounts=(*DECLARED, _mount(b"/")))) == [(b"/", "mounted-over", Level.HIGH)]


def test_a_mount_below_a_declared_one_is_counted_and_those_of_the_runtime_are_not() -> None:
    verdict = judge(mounts=(*DECLARED, _mount(b"/data/sub"), _mount(b"/proc/keys"), _mount(b"/dev/pts")))
    assert (verdict.state, [(a.pattern, a.rule) for a in verdict.aggregates]) == (State.INTACT, [("/data/**", "mounted-below-volume")])


def test_a_declared_mount_that_lost_a_restriction_is_told() -> None:
    mounts = tuple(_mount(m.target, m.device, flags="rw") if m.target in (b"/dev/shm", b"/run/secrets") else m for m in DECLARED)
    assert told(judge(mounts=mounts)) == [(b"/dev/shm", "remounted", Level.HIGH), (b"/run/secrets", "remounted", Level.HIGH)]


def test_the_directory_of_control_groups_of_version_1_is_as_the_runtime_makes_it() -> None:
    declared = DeclaredMount(target=b"/sys/fs/cgroup", kind="cgroup", options=("ro",))
    mounted = replace(MOUNTED, mounts=(*MOUNTED.mounts, declared))
    made = (*DECLARED, _mount(b"/sys/fs/cgroup", kind=b"tmpfs", flags="rw"), _mount(b"/sys/fs/cgroup/cpu", kind=b"cgroup", flags="ro"))
    assert judge(mounts=made, mounted=mounted).state is State.INTACT
    unified = (*DECLARED, _mount(b"/sys/fs/cgroup", kind=b"cgroup2", flags="rw"))
    assert told(judge(mounts=unified, mounted=mounted)) == [(b"/sys/fs/cgroup", "remounted", Level.HIGH)]


def test_a_declared_mount_that_is_not_there_is_told_once() -> None:
    (finding,) = judge(mounts=tuple(m for m in DECLARED if m.target != b"/run/secrets")).findings
    assert (finding.difference.path, finding.rule, finding.level) == (b"/run/secrets", "unmounted", Level.HIGH)
    assert finding.difference.change is Change.MOUNTED and "not mounted any more" in finding.difference.reason


def test_what_is_mounted_in_the_place_of_a_declared_mount_is_told() -> None:
    mounts = tuple(replace(m, is_other=True) if m.target == b"/data" else m for m in DECLARED)
    assert told(judge(mounts=mounts)) == [(b"/data", "mounted-over", Level.HIGH)]


def test_a_table_that_shows_only_a_part_says_nothing_of_the_rest() -> None:
    """That of a first process that has locked itself in, and an empty one."""
    assert judge(mounts=()).state is State.INTACT
    assert judge(mounts=(_mount(b"/data", DISK, b"ext4"),)).state is State.INTACT


def test_paths_that_are_only_hidden_and_mounts_in_a_volume_need_not_be_there() -> None:
    """The runtime leaves out what it hides where there is nothing; a link in a volume may lead a mount elsewhere."""
    more = (DeclaredMount(target=b"/proc/kcore", kind="masked"), DeclaredMount(target=b"/data/link/sub", kind="bind"))
    assert judge(mounted=replace(MOUNTED, mounts=(*MOUNTED.mounts, *more))).state is State.INTACT


def test_a_read_only_root_that_became_writable_is_told() -> None:
    fixed = Mounted(upper=b"/u", lowers=(b"/l",), device=DEVICE, mounts=MOUNTED.mounts, is_read_only=True)
    assert told(judge(mounted=fixed)) == [(b"/", "remounted", Level.HIGH)]
    assert judge(mounts=(_mount(b"/", DEVICE, b"overlay", "ro"), *DECLARED[1:]), mounted=fixed).state is State.INTACT


def test_what_a_private_namespace_mounts_over_the_image_is_told_once_and_what_it_inherited_is_not() -> None:
    inherited = tuple(_mount(m.target, m.device, m.kind, by=SHELL) for m in DECLARED)
    departed = (Departed(by=SHELL, how=Departure.MOUNTS),)
    verdict = judge(mounts=(*DECLARED, *inherited, _mount(b"/etc", 99, by=SHELL)), departed=departed)
    assert told(verdict) == [(b"/etc", "mounted-over", Level.HIGH), (b"/bin/tool", "foreign-namespace", Level.MEDIUM)]
    assert all("pid 11" in finding.process for finding in verdict.findings)


@pytest.mark.parametrize(
    ("how", "rule", "level"),
    [
        (Departure.HOST, "foreign-namespace", Level.MEDIUM),
        (Departure.USERS, "foreign-namespace", Level.LOW),
        (Departure.ROOT, "root-changed", Level.HIGH),
        (Departure.JAIL, "root-changed", Level.MEDIUM),
    ],
)
def test_a_process_that_left_the_containers_view_is_told(how: Departure, rule: str, level: Level) -> None:
    assert told(judge(departed=(Departed(by=SHELL, how=how, root=b"/jail"),))) == [(b"/bin/tool", rule, level)]


def test_the_same_program_told_twice_has_one_finding_and_one_id_over_processes() -> None:
    other = Runner(pid=99, started_ticks=9, executable=b"/bin/tool")
    runs = [Run(path=b"/memfd:x", place=Place.MEMORY, by=by, digest=CHANGED) for by in (SHELL, other)]
    first, second, both = judge(runs[0]), judge(runs[1]), judge(*runs)
    assert {f.id for f in first.findings} == {f.id for f in second.findings} == {f.id for f in both.findings} and len(both.findings) == 1


def test_what_could_not_be_looked_at_is_said() -> None:
    look = LiveLook(container=CONTAINER, mounts=DECLARED, unobserved=(Unobserved(path=b"/proc", reason="process 1: no"),), at=5.0)
    assert judge_live(BASELINE, MOUNTED, look, {}).state is State.UNOBSERVED
