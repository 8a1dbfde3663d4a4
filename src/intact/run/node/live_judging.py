"""What runs in the watched containers and what is mounted there, judged when it is other than before.

In: believed looks, from `live_watch`, and what came into volumes, from `volume_watch`. Out: verdicts, told. For the flow's thread.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from intact.compare.live import paths_to_compare
from intact.model.container import Mounted
from intact.model.entry import Entry
from intact.model.layer import Baseline
from intact.model.live import LiveLook, Place, VolumeLook
from intact.observe.owners import map_owners
from intact.observe.ports import LiveWorld, Volumes

from .judging import judge_running
from .live_watch import LiveWatch
from .origins import LIBRARIES, PAST, Answers, Origins, Weighed
from .ports import Eyes, HandIn
from .reporting import Reporter
from .roster import Roster
from .volume_watch import VolumeWatch
from .watched import Watched

MAX_WAITING = 64
"""Looks at what ran that wait until it is known where a library comes from, of one container; the oldest is let go."""


class LiveJudge:
    """Owns of each container what is known of its life: `live`, `live_facts`, `volumes`. Without a `world` nobody looks at that, without
    `volumes` nobody searches those."""

    def __init__(
        self,
        world: LiveWorld | None,
        volumes: Volumes | None,
        *,
        roster: Roster,
        eyes: Eyes,
        reporter: Reporter,
        origins: Origins | None,
        hand_in: HandIn,
        clock: Callable[[], float],
        steady: Callable[[], float],
    ) -> None:
        self._roster, self._eyes, self._reporter, self._origins, self._hand_in = roster, eyes, reporter, origins, hand_in
        self._waiting: dict[str, deque[LiveLook]] = {}
        self._live: LiveWatch | None = None
        if world is not None:
            self._live = LiveWatch(world, lambda look: hand_in(lambda _: self._take(look)), clock=clock, steady=steady)
        self._volumes: VolumeWatch | None = None
        if volumes is not None:
            self._volumes = VolumeWatch(volumes, lambda look: hand_in(lambda _: self._take_volumes(look)), steady=steady)

    def start(self) -> None:
        if self._live is not None:
            self._live.start()

    def close(self) -> None:
        if self._volumes is not None:
            self._volumes.close()
        if self._live is not None:
            self._live.close()

    def follow(self, watched: Watched, every_s: float) -> None:
        """Looks at what it runs at once, and from then on; unless it is not watched. Its volumes, where they are asked for, are searched so
        often."""
        if self._live is not None and watched.is_on:
            self._live.watch(watched.running)
        else:
            self.forget(watched)
        if self._volumes is not None and watched.is_on and watched.with_volumes:
            self._volumes.watch(watched.running, every_s)
        else:
            self._forget_volumes(watched)

    def forget(self, watched: Watched) -> None:
        self._forget_volumes(watched)
        self._waiting.pop(watched.running.container.id, None)
        if self._live is not None:
            self._live.forget(watched.running.container.id)

    def _forget_volumes(self, watched: Watched) -> None:
        watched.volumes = None
        if self._volumes is not None:
            self._volumes.forget(watched.running.container.id)

    def _take_volumes(self, look: VolumeLook | BaseException) -> None:
        """Told with what runs, as soon as that is looked at again."""
        if isinstance(look, BaseException):
            raise look
        watched = self._roster.get(look.container.id)
        if watched is None or watched.running.mounted is None or not watched.with_volumes:
            return
        own, before = _show_owners(watched.running.mounted), watched.volumes
        brought = tuple(replace(one, entry=own(one.entry)) for one in look.brought)
        watched.volumes = replace(look, brought=brought)
        if before is None or (before.brought, before.unobserved) != (brought, look.unobserved):
            self._look_again(watched)

    def _take(self, look: LiveLook | BaseException) -> None:
        """A file of the writable layer that runs may itself have changed."""
        if isinstance(look, BaseException):
            raise look
        watched = self._roster.get(look.container.id)
        if watched is None or watched.baseline is None or watched.running.mounted is None or not watched.is_on:
            return
        if look.is_past:
            self._take_past(watched, watched.baseline, watched.running.mounted, look)
            return
        if look.rewritten:
            own = _show_owners(watched.running.mounted)
            look = replace(look, rewritten=tuple(replace(one, before=own(one.before), entry=own(one.entry)) for one in look.rewritten))
        if watched.volumes is not None:
            look = replace(look, brought=watched.volumes.brought, unobserved=(*look.unobserved, *watched.volumes.unobserved))
        baseline, paths = watched.baseline, paths_to_compare(look)
        seen = look.runs, look.departed, look.mounts, look.brought, look.rewritten, look.unobserved
        facts = (baseline.root, watched.with_volumes, watched.levels, *seen)
        if watched.live is not None and not paths and facts == watched.live_facts:
            return
        judged = judge_running(
            baseline,
            watched.running.mounted,
            look,
            partial(self._eyes.look, watched.running, baseline),
            partial(self._weigh_libraries, watched, baseline, then=partial(self._look_again, watched)),
            with_volumes=watched.with_volumes,
            levels=watched.levels,
        )
        if judged is None:
            return  # it is going: the next list says so
        watched.live_facts = None if judged.weighed.waiting else facts
        watched.live = judged.verdict
        self._reporter.tell(watched, watched.live)
        for layer in baseline.layers:
            layer.release()

    def _take_past(self, watched: Watched, baseline: Baseline, mounted: Mounted, look: LiveLook) -> None:
        """Tells what ran, once. That a file was there which is gone now, and of which nothing is known but its name, counts if somebody was
        heard to write it: a process in a changed root sees other names."""
        runs = tuple(run for run in look.runs if run.place is not Place.GONE or run.digest is not None or run.path in watched.writers)
        look = replace(look, runs=runs)
        judged = judge_running(
            baseline,
            mounted,
            look,
            partial(self._eyes.look, watched.running, baseline),
            partial(self._weigh_libraries, watched, baseline, topic=PAST, then=partial(self._take_waiting, watched)),
            with_volumes=watched.with_volumes,
        )
        if judged is None:
            return
        if judged.weighed.waiting:
            waiting = self._waiting.setdefault(watched.running.container.id, deque(maxlen=MAX_WAITING))
            waiting.append(replace(look, runs=tuple(run for run in look.runs if run.path in judged.weighed.waiting)))
        new = tuple(finding for finding in judged.verdict.findings if finding.id not in watched.executed_said)
        if new and self._reporter.hand_over(verdicts=(replace(judged.verdict, findings=new),)):
            watched.note_said(new)

    def _take_waiting(self, watched: Watched) -> None:
        for look in self._waiting.pop(watched.running.container.id, ()):
            self._take(look)

    def _look_again(self, watched: Watched) -> None:
        if self._live is not None:
            self._live.look_again(watched.running.container.id)

    def _weigh_libraries(
        self, watched: Watched, baseline: Baseline, libraries: Sequence[Entry], *, topic: str = LIBRARIES, then: Callable[[], None]
    ) -> Weighed:
        """Where libraries come from that are mapped, as far as that is known; `then` is called when it is known of the rest."""
        if self._origins is None or not libraries:
            return Weighed()
        origins, container_id = self._origins, watched.running.container.id

        def learn(answers: Answers) -> None:
            def take(_: float) -> None:
                answers()
                origins.finish(container_id, topic)
                then()

            self._hand_in(take)

        return origins.weigh(watched.running, baseline, libraries, learn, topic=topic)


def _show_owners(mounted: Mounted) -> Callable[[Entry], Entry]:
    """Owners as the container's user namespace shows them."""
    return lambda entry: map_owners(entry, mounted.uid_map, mounted.gid_map)
