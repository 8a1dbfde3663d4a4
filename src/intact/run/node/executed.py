"""What was executed out of a container's writable layer, told once each, even where nothing is left of it.

In: what the doorbell heard being executed. Out: verdicts with who did it, told. For the flow's thread; looks every `EXECUTED_EVERY_S` at
most, and for no more than a fifth of the time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from intact.compare.differ import compare
from intact.compare.executed import judge_executed
from intact.observe.ports import Process

from .ports import Eyes
from .reporting import Reporter
from .roster import Roster
from .watched import EXITED, Watched, describe_writer

EXECUTED_EVERY_S = 0.2


class ExecutedFiles:
    """Owns of each container what it executed: `executed`, `executed_at`, `executed_said`."""

    def __init__(self, *, roster: Roster, eyes: Eyes, reporter: Reporter, steady: Callable[[], float]) -> None:
        self._roster, self._eyes, self._reporter, self._steady = roster, eyes, reporter, steady

    def note(self, directory: bytes, executed: Mapping[bytes, Process | None], replaced: frozenset[bytes] = frozenset()) -> None:
        """Files of the upper `directory` were executed, and by whom, and some of them `replaced` since. What is more than can be remembered
        until the next look is told as lost."""
        for watched in self._roster:
            if watched.running.mounted is not None and watched.running.mounted.upper == directory:
                left_out = watched.note_executed(executed)
                watched.replaced |= replaced & watched.executed.keys()
                if left_out:
                    self._reporter.note_lost(left_out)

    def look_at_due(self, now: float) -> None:
        for watched in self._roster:
            if watched.executed and now >= watched.executed_at:
                self.look(watched)

    def look(self, watched: Watched) -> None:
        """Looks at what was executed and not looked at yet, and tells what was not told."""
        if watched.baseline is None or not watched.is_on or not watched.executed:
            return
        executed, watched.executed = watched.executed, {}
        replaced, watched.replaced = watched.replaced, set()
        started = self._steady()
        observation = self._eyes.look(watched.running, watched.baseline, frozenset(executed))
        finished = self._steady()
        watched.executed_at = finished + max(EXECUTED_EVERY_S, 4 * (finished - started))
        if observation is None:
            return
        verdict = judge_executed(watched.baseline, executed, observation, compare(watched.baseline, observation), replaced)
        new = tuple(
            replace(one, writer=writer, process=EXITED if writer is None else describe_writer(writer))
            for one in verdict.findings
            if one.id not in watched.executed_said
            for writer in (executed[one.difference.path],)
        )
        if not new:
            return
        if not self._reporter.hand_over(verdicts=(replace(verdict, findings=new),)):
            watched.executed.update(executed)
            watched.replaced |= replaced
            return
        watched.note_said(new)
