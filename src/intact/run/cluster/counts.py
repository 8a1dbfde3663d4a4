"""What containers write that no rule tells, kept as numbers for each workload. In: verdicts. Out: what is to be told once a day.

Guarded by the flow's lock.
"""

from __future__ import annotations

from dataclasses import replace

from intact.audit.record import Leaf
from intact.audit.steps import record_scratch
from intact.decide.counted import add_counts, find_scratch
from intact.decide.ports import StartStore
from intact.model.counted import CountedDrift
from intact.model.finding import Verdict
from intact.model.incident import PodFacts

SAVED_EVERY_S = 3600.0
"""That the same was seen again is written no more often."""


class Counts:
    def __init__(self, store: StartStore) -> None:
        self._store = store

    def count(self, verdict: Verdict, pod: PodFacts, now: float) -> list[Leaf]:
        """Keeps the numbers of a verdict. What is to be recorded: code that appeared in scratch directories, once a day."""
        if not verdict.aggregates:
            return []
        container = verdict.container
        known = self._store.counted(pod.workload, container.name)
        before = known or CountedDrift(workload=pod.workload, container=container.name, image=container.image)
        after = replace(add_counts(before, verdict.aggregates, pod.uid, now), image=container.image)
        scratch, leaves = find_scratch(after, now), list[Leaf]()
        if scratch:
            after = replace(after, scratch_told_at=now)
            leaves.append(record_scratch(container, scratch, workload=pod.workload, now=now))
        if known is None or leaves or _is_news(before, after):
            self._store.save_counted(after, now)
        return leaves


def _is_news(before: CountedDrift, after: CountedDrift) -> bool:
    known = {(one.rule, one.pattern): one for one in before.counted}
    for one in after.counted:
        last = known.get((one.rule, one.pattern))
        if last is None or (last.count, last.pods) != (one.count, one.pods) or one.last_at - last.last_at > SAVED_EVERY_S:
            return True
    return False
