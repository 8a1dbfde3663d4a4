"""A container that differs only as expected is shown as that, whatever expects it; anything else that differs is shown as drifted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from intact.model.container import Container
from intact.model.finding import Change, Level
from intact.model.policy import Expectation, PathLevel, Policy, Purpose
from intact.run.cluster.flow import WHY_EXPECTED
from tests.unit.clusters import Staged, staged
from tests.unit.run.cluster.shop import AFTER, CONF, Shop
from tests.unit.seam_contract import wait_until

EXPECTING = Policy(name="web", namespace="shop", expect=(Expectation(paths=("/etc/nginx/**",)),))
TOLERATING = Policy(name="web", namespace="shop", levels=(PathLevel(paths=("/etc/nginx/**",), level=Level.INFO),))
WARNING = Policy(name="web", namespace="shop", levels=(PathLevel(paths=("/etc/nginx/**",), level=Level.LOW),))
BUILDING = Policy(name="web", namespace="shop", workload=Purpose.BUILD)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Staged]:
    with staged(tmp_path / "first") as one:
        yield one


def bare(shop: Shop) -> Container:
    """Of no template, so that no profile excuses anything."""
    return shop.start("web-1", "n1", template="")


def edit(cluster: Staged, policy: Policy) -> tuple[Shop, Container]:
    """A container under `policy` in which a file of the image was edited, as its node told and still sees."""
    cluster.world.declared = (policy,)
    shop = Shop(cluster)
    web = bare(shop)
    shop.find(web, (CONF, b"edited", AFTER))
    shop.look_on(web)
    return shop, web


def shown(cluster: Staged, container: Container) -> tuple[str, str]:
    (covered,) = [one for node in cluster.flow.status() for one in node.coverage if one.container.id == container.id]
    return covered.verdict, covered.reason


@pytest.mark.parametrize("policy", [EXPECTING, TOLERATING, BUILDING], ids=["expect", "level Info", "build"])
def test_what_a_policy_expects_is_shown_as_expected(cluster: Staged, policy: Policy) -> None:
    shop, web = edit(cluster, policy)
    assert shown(cluster, web) == ("Expected", WHY_EXPECTED) and cluster.incidents() == ()
    shop.find(web, (CONF, b"edited", AFTER), (b"/usr/bin/tool", b"evil", AFTER), rule="privilege-bits")
    shop.look_on(web)
    assert shown(cluster, web)[0] == "Drifted", "one difference that nobody expects"
    shop.find(web)
    shop.look_on(web, verdict="Intact")
    assert shown(cluster, web) == ("Intact", "")


@pytest.mark.parametrize("policy", [Policy(name="web", namespace="shop"), WARNING], ids=["none", "level Low"])
def test_what_opens_an_incident_is_not(cluster: Staged, policy: Policy) -> None:
    _, web = edit(cluster, policy)
    assert shown(cluster, web)[0] == "Drifted" and cluster.wait_incident()


def test_what_nobody_told_how_it_differs_is_not_expected_and_asked_for(cluster: Staged, tmp_path: Path) -> None:
    """After a restart the node says Drifted of what it told to an earlier life of the controller."""
    cluster.world.declared = (EXPECTING,)
    shop = Shop(cluster)
    web = bare(shop)
    shop.find(web, (CONF, b"edited", AFTER))
    with staged(tmp_path / "again", cluster) as again:
        shop = Shop(again)
        shop.look_on(web)
        assert shown(again, web)[0] == "Drifted"
        assert web.pod is not None
        uid = web.pod.uid
        wait_until(lambda: uid in shop.orders("n1"), 60)
        shop.find(web, (CONF, b"edited", AFTER))
        shop.look_on(web)
        assert shown(again, web) == ("Expected", WHY_EXPECTED)


def test_a_read_only_layer_that_differs_is_never_shown_as_expected(cluster: Staged) -> None:
    cluster.world.declared = (replace(TOLERATING, expect=EXPECTING.expect),)
    shop = Shop(cluster)
    web = bare(shop)
    shop.find(web, (CONF, b"edited", AFTER), rule="read-only-layer-changed", change=Change.MODIFIED, in_layers=True)
    shop.look_on(web)
    assert shown(cluster, web)[0] == "Drifted"
