"""Which stored baselines and tables nobody needs any more, and removing them.

In: what is stored, which images are needed, and the time. Out: a plan with the reason for each thing that goes, or what really went. A
baseline that is needed marks its use at every collection, so that it stays for a while after its image has stopped running. The rules:

1. A baseline stays whose key or alias is needed now,
2. or that was stored or needed within the retention.
3. but where the store may only have a size, of those not needed now only as many as it has room for, those needed last first.
4. A table stays that a staying baseline has,
5. or that was stored within the grace: somebody may be about to store a baseline that has it.

Everything else goes, also what is stored and nothing knows. What is planned is looked at again in the step that removes it (`ports`), so
that what somebody begins to use meanwhile stays.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

from intact.model.digest import Digest
from intact.model.errors import InputError

from .ports import PUT_WITHIN_S, BaselineFiles, KeptBaseline, KeptTable

RETAIN_S = 30 * 86400.0
GRACE_S = 86400.0
LEAST_GRACE_S = 2 * PUT_WITHIN_S
"""Twice what storing may take at most, for clocks that do not agree."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Going:
    """A baseline (by its key) or a table (by its name) that goes, and why."""

    name: str
    size_bytes: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Harvest:
    """What goes, or went, and how much stays."""

    baselines: tuple[Going, ...]
    tables: tuple[Going, ...]
    kept_baselines: int
    kept_tables: int
    kept_bytes: int

    @property
    def size_bytes(self) -> int:
        return sum(one.size_bytes for one in (*self.baselines, *self.tables))


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What the rules say of everything that is stored. The reasons stand beside what they are of."""

    baselines: tuple[tuple[KeptBaseline, str], ...]
    tables: tuple[tuple[KeptTable, str], ...]
    kept_baselines: tuple[KeptBaseline, ...]
    kept_tables: tuple[KeptTable, ...]


def plan_collection(
    baselines: Iterable[KeptBaseline],
    tables: Iterable[KeptTable],
    *,
    needed: Collection[str],
    now: float,
    retain_s: float = RETAIN_S,
    grace_s: float = GRACE_S,
    at_most_bytes: int | None = None,
) -> Plan:
    """`needed`: keys and aliases. `at_most_bytes`: what may stay, None for no bound. Pure: nothing is removed."""
    names = frozenset(needed)
    tables = tuple(tables)
    sizes = {table.root: table.size_bytes for table in tables if table.root is not None}
    going: list[tuple[KeptBaseline, str]] = []
    staying: list[KeptBaseline] = []
    held: set[Digest] = set()
    held_bytes = 0
    by_need = sorted(baselines, key=lambda one: (names.isdisjoint((str(one.key), *one.aliases)), -one.used_at, one.key))
    for baseline in by_need:
        more = baseline.envelope_bytes + sum(sizes.get(root, 0) for root in {*baseline.table_roots} - held)
        if names.isdisjoint((str(baseline.key), *baseline.aliases)):  # 1
            if baseline.used_at <= now - retain_s:  # 2
                going.append((baseline, f"not needed for {_days(now - baseline.used_at)}"))
                continue
            if at_most_bytes is not None and held_bytes + more > at_most_bytes:  # 3
                going.append((baseline, f"not needed now, and more than {at_most_bytes} bytes may not stay"))
                continue
        staying.append(baseline)
        held.update(baseline.table_roots)  # 4
        held_bytes += more
    known: set[Digest] = {root for baseline, _ in going for root in baseline.table_roots}
    going_tables: list[tuple[KeptTable, str]] = []
    staying_tables: list[KeptTable] = []
    for table in tables:
        if table.root in held or table.stored_at >= now - grace_s:  # 4, 5
            staying_tables.append(table)
        else:
            going_tables.append((table, "no baseline that stays has it" if table.root in known else "left over: no baseline has it"))
    return Plan(baselines=tuple(going), tables=tuple(going_tables), kept_baselines=tuple(staying), kept_tables=tuple(staying_tables))


def collect(
    files: BaselineFiles,
    *,
    needed: Collection[str],
    now: float,
    retain_s: float = RETAIN_S,
    grace_s: float = GRACE_S,
    at_most_bytes: int | None = None,
    dry_run: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Harvest:
    """Marks what is needed as used, removes what the rules let go, and tells what went; with `dry_run` it only tells what would.

    `progress` is called with the bytes removed and to remove. Raises InputError for a grace that is too short, TemporaryError and
    PermanentError of the store: what was removed by then is gone, everything that stays is whole, and the next collection goes on.
    """
    if grace_s < LEAST_GRACE_S:
        raise InputError(f"a grace of less than {LEAST_GRACE_S:.0f} s could remove what is just being stored", code="Grace")
    if not dry_run:
        files.mark_used(needed, now)
    plan = plan_collection(
        files.list_baselines(),
        files.list_tables(),
        needed=needed,
        now=now,
        retain_s=retain_s,
        grace_s=grace_s,
        at_most_bytes=at_most_bytes,
    )
    baselines = plan.baselines if dry_run else _remove_baselines(files, plan)
    tables = plan.tables if dry_run else _remove_tables(files, plan, now - grace_s, progress)
    kept = [baseline.envelope_bytes for baseline in plan.kept_baselines] + [table.size_bytes for table in plan.kept_tables]
    return Harvest(
        baselines=tuple(Going(name=str(b.key), size_bytes=b.envelope_bytes, reason=reason) for b, reason in baselines),
        tables=tuple(Going(name=t.name, size_bytes=t.size_bytes, reason=reason) for t, reason in tables),
        kept_baselines=len(plan.kept_baselines) + len(plan.baselines) - len(baselines),
        kept_tables=len(plan.kept_tables) + len(plan.tables) - len(tables),
        kept_bytes=sum(kept),
    )


def _remove_baselines(files: BaselineFiles, plan: Plan) -> tuple[tuple[KeptBaseline, str], ...]:
    return tuple(one for one in plan.baselines if files.remove_baseline(one[0].key, unused_since=one[0].used_at))


def _remove_tables(
    files: BaselineFiles, plan: Plan, stored_before: float, progress: Callable[[int, int], None]
) -> tuple[tuple[KeptTable, str], ...]:
    total = sum(table.size_bytes for table, _ in plan.tables)
    done = 0
    gone = []
    for table, reason in plan.tables:
        if files.remove_table(table, stored_before=stored_before):
            gone.append((table, reason))
        done += table.size_bytes
        progress(done, total)
    return tuple(gone)


def _days(seconds: float) -> str:
    return f"{int(seconds // 86400)} days" if seconds >= 2 * 86400 else f"{int(seconds // 3600)} hours"
