"""A Deployment's pods as their nodes tell of them, for tests of what the cluster's half makes of it."""

from __future__ import annotations

from dataclasses import replace

from intact.model.container import Container
from intact.model.digest import Digest
from intact.model.entry import Entry, Kind
from intact.model.finding import Aggregate, Change, Difference, Finding, Level, State, Verdict
from intact.model.layer import Grade
from intact.model.observation import Scope
from intact.model.seam import Coverage, Report
from tests.unit.clusters import START, Staged

IMAGE = Digest.of(b"image")
CONF = b"/etc/nginx/nginx.conf"
STARTED, READY = START - 100.0, START - 50.0
BEFORE, AFTER = READY - 20.0, READY + 20.0


class Shop:
    """Pods of one Deployment, as their nodes tell of them."""

    def __init__(self, cluster: Staged) -> None:
        self.cluster = cluster

    def start(self, name: str, node: str, *, template: str = "t1", is_ready: bool | None = True, started_at: float = STARTED) -> Container:
        pod = self.cluster.world.add(name, node)
        known = self.cluster.world.pods[pod.uid]
        since = READY if is_ready else started_at - 1
        self.cluster.world.pods[pod.uid] = replace(known, template=template, is_ready=is_ready, ready_since=since)
        return Container(id=f"c-{name}", name="web", image="web:1", image_key=IMAGE, node=node, pod=pod, started_at=started_at)

    def get_ready(self, container: Container, at: float = READY) -> None:
        assert container.pod is not None
        uid = container.pod.uid
        self.cluster.world.pods[uid] = replace(self.cluster.world.pods[uid], is_ready=True, ready_since=at)

    def find(
        self,
        container: Container,
        *changes: tuple[bytes, bytes | None, float],
        rule: str = "image-file-changed",
        change: Change = Change.MODIFIED,
        aggregates: tuple[Aggregate, ...] = (),
        placed_at: float = 0.0,
        in_layers: bool = False,
    ) -> None:
        """The node finds these paths changed to this content (None: nobody could read it) at these times, and nothing else."""
        findings = tuple(
            Finding(
                container=container,
                difference=Difference(
                    path=path,
                    change=change,
                    expected=Entry(path=path, kind=Kind.FILE, mode=0o644) if change is Change.MODIFIED else None,
                    actual=Entry(
                        path=path,
                        kind=Kind.FILE,
                        mode=0o644,
                        size_bytes=len(content or b""),
                        digest=None if content is None else Digest.of(content),
                    ),
                ),
                level=Level.MEDIUM,
                rule=rule,
                scope=Scope.LAYERS if in_layers else Scope.DRIFT,
                baseline_root=IMAGE,
                grade=Grade.NODE_REPORTED,
                observed_at=self.cluster.clock.now,
                changed_at=changed_at,
                placed_at=placed_at,
            )
            for path, content, changed_at in changes
        )
        state = State.DRIFTED if findings else State.INTACT
        verdict = Verdict(
            container=container,
            state=state,
            scope=Scope.LAYERS if in_layers else Scope.DRIFT,
            findings=findings,
            baseline_root=IMAGE,
            grade=Grade.NODE_REPORTED,
            at=self.cluster.clock.now,
        )
        self._send(container.node, verdicts=(replace(verdict, aggregates=aggregates),))

    def look_on(self, *containers: Container, verdict: str = "Drifted", at: float | None = None) -> None:
        """Their nodes say that they still look, last now or `at`, and see what they told."""
        for node in {one.node for one in containers}:
            coverage = tuple(
                Coverage(
                    container=one,
                    verdict=verdict,
                    baseline_root=IMAGE,
                    grade="NodeReported",
                    verified_at=self.cluster.clock.now if at is None else at,
                    layers_verified_at=0.0,
                )
                for one in containers
                if one.node == node
            )
            self._send(node, coverage=coverage)

    def _send(self, node: str, **parts: object) -> None:
        self.cluster.clock.now += 1.0
        self.cluster.reports += 1
        now = self.cluster.clock.now
        self.cluster.flow.receive(node, Report(id=f"{node}-{self.cluster.reports}-{now}", node=node, at=now, **parts))  # type: ignore[arg-type]

    def told(self) -> list[tuple[object, object, object]]:
        return [(leaf.body["verb"], leaf.body["level"], leaf.body["paths_count"]) for leaf in self.cluster.leaves("StartProfile")]

    def orders(self, node: str) -> set[str]:
        return {command.pod_uid for command in self.cluster.flow.commands_for(node, 0.0)}


def established(shop: Shop, *, template: str = "t1", content: bytes = b"generated") -> tuple[Container, Container]:
    first, second = (shop.start(f"{template}-{node}", node, template=template) for node in ("n1", "n2"))
    for one in (first, second):
        shop.find(one, (CONF, content, BEFORE))
        shop.look_on(one)
    return first, second


def start_clean(shop: Shop, *names: str) -> list[Container]:
    """Pods that start with no difference, each on a node of its own, and are seen so after they are ready."""
    pods = [shop.start(name, f"n{number}") for number, name in enumerate(names, 1)]
    for one in pods:
        shop.find(one)
        shop.look_on(one, verdict="Intact")
    return pods
