"""What comes and goes in a loop is told and recorded a bounded number of times: how it began, how often it was seen, and how it ended."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from intact.audit.ports import Query
from intact.audit.query import find_leaves
from intact.decide.flapping import QUIET_S, ROUNDS
from intact.model.container import Container
from intact.model.incident import IncidentState
from tests.unit.clusters import Staged, staged
from tests.unit.run.cluster.shop import AFTER, CONF, Shop


def wait_for(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def flap(cluster: Staged, shop: Shop, web: Container, rounds: int, content: bytes = b"x") -> None:
    """A file is changed and put back, each seen by the node, and each incident that ends has ended before the next round."""
    for number in range(rounds):
        shop.find(web, (CONF, content, AFTER))
        shop.find(web)
        if number < ROUNDS:
            wait_for(lambda: all(one.state is IncidentState.RESOLVED for one in cluster.incidents()))


def recorded(cluster: Staged) -> Counter[str]:
    return Counter(leaf.kind for _, leaf in find_leaves(cluster.state.leaves, Query()))


def test_a_file_that_comes_and_goes_in_a_loop_has_a_few_incidents_and_leaves(tmp_path: Path) -> None:
    with staged(tmp_path) as cluster:
        shop = Shop(cluster)
        web = shop.start("web-1", "n1")
        flap(cluster, shop, web, 60)
        assert len(cluster.incidents()) == ROUNDS + 1
        leaves = recorded(cluster)
        assert leaves["IncidentOpened"] == leaves["Finding"] == ROUNDS + 1 and leaves["IncidentResolved"] == ROUNDS
        assert leaves["Verdict"] == 10 and leaves.total() < 40
        (still_open,) = [one for one in cluster.incidents() if one.state is not IncidentState.RESOLVED]
        assert still_open.last_seen > cluster.clock.now - 5, "and says when it was seen last"
        cluster.clock.now += QUIET_S + 1
        shop.find(web)
        wait_for(lambda: all(one.state is IncidentState.RESOLVED for one in cluster.incidents()))
    last = cluster.leaves("Verdict")[-1]
    assert last.body["stands_for"] == 50, "the rest is one leaf with their number"
    assert cluster.leaves("IncidentResolved")[-1].body["last_seen"] > cluster.leaves("IncidentOpened")[-1].body["last_seen"]  # type: ignore[operator]


def test_something_else_in_the_midst_of_it_is_recorded_at_once(tmp_path: Path) -> None:
    with staged(tmp_path) as cluster:
        shop = Shop(cluster)
        web = shop.start("web-1", "n1")
        flap(cluster, shop, web, 20)
        before = recorded(cluster)["Finding"]
        shop.find(web, (CONF, b"another", AFTER))
        assert recorded(cluster)["Finding"] == before + 1, "what is found for the first time has a leaf of its own"


def test_what_comes_again_in_pods_that_were_replaced_is_an_incident_each(tmp_path: Path) -> None:
    with staged(tmp_path) as cluster:
        shop = Shop(cluster)
        for number in range(ROUNDS + 3):
            web = shop.start(f"web-{number}", "n1")
            shop.find(web, (CONF, b"x", AFTER))
            assert web.pod is not None
            del cluster.world.pods[web.pod.uid]
            shop.look_on(verdict="Intact")
            cluster.clock.now += 10.0
            wait_for(lambda: all(one.state is IncidentState.RESOLVED for one in cluster.incidents()))
        assert len(cluster.incidents()) == ROUNDS + 3
