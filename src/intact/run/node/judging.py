"""How what was seen of a container becomes verdicts: one way, for the agent that watches and for whoever looks once.

In: a baseline, what was seen, and who says where added code comes from. Out: the verdict, and what it waits for. Never looks at anything by
itself, and remembers nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from intact.compare.differ import compare
from intact.compare.judge import find_candidates, judge
from intact.compare.live import find_derivable, judge_live, paths_to_compare
from intact.model.container import Mounted, Running
from intact.model.entry import Entry
from intact.model.finding import Difference, Verdict
from intact.model.layer import Baseline
from intact.model.live import LiveLook
from intact.model.observation import Observation
from intact.model.seam import PlannedLevel
from intact.observe.derive import Deriver

from .origins import Weighed, choose_batch, leave_out

Weigh = Callable[[Sequence[Entry]], Weighed]
"""What is known of where these added files come from."""
Observe = Callable[[frozenset[bytes]], Observation | None]
"""A look at some paths of the writable layer; None if it is gone."""


@dataclass(frozen=True, slots=True)
class Judged:
    """`verdict` says nothing of the paths that `weighed` waits for. `differences` are those of the writable layer, before any judgement."""

    verdict: Verdict
    differences: tuple[Difference, ...]
    weighed: Weighed


def judge_files(baseline: Baseline, observation: Observation, weigh: Weigh, levels: tuple[PlannedLevel, ...] = ()) -> Judged:
    """What a look at the writable layer says."""
    differences = compare(baseline, observation)
    weighed = weigh(find_candidates(baseline, observation, differences, levels=levels))
    verdict = judge(baseline, observation, leave_out(differences, weighed.waiting), weighed.derivations, levels=levels)
    return Judged(verdict, differences, weighed)


def judge_running(
    baseline: Baseline,
    mounted: Mounted,
    look: LiveLook,
    observe: Observe,
    weigh: Weigh,
    *,
    with_volumes: bool = False,
    levels: tuple[PlannedLevel, ...] = (),
) -> Judged | None:
    """What a look at what runs and is mounted says; None where the container's writable layer is gone. Libraries of which it is not known
    yet where they come from are left out, whatever else runs is not."""
    differences: tuple[Difference, ...] = ()
    if paths := paths_to_compare(look):
        observation = observe(paths)
        if observation is None:
            return None
        differences = compare(baseline, observation)
    by_path = {difference.path: difference for difference in differences}
    weighed = weigh(find_derivable(look, by_path))
    if weighed.waiting:
        look = replace(look, runs=tuple(run for run in look.runs if not run.is_mapped or run.path not in weighed.waiting))
    verdict = judge_live(baseline, mounted, look, by_path, derivations=weighed.derivations, with_volumes=with_volumes, levels=levels)
    return Judged(verdict, differences, weighed)


def find_out(deriver: Deriver, running: Running, baseline: Baseline, entries: Sequence[Entry]) -> Weighed:
    """Where `entries` come from, found out now, in the batches in which it is found out in the background: nothing is left to wait for."""
    known, unknown = deriver.recall(baseline, entries)
    while unknown:
        deriver.establish(running, baseline, choose_batch(unknown))
        known, unknown = deriver.recall(baseline, entries)
    return Weighed(known)
