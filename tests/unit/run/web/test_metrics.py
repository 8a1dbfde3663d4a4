"""Figures of nodes: how much of their read-only layers nobody has verified, and since when."""

from __future__ import annotations

from dataclasses import replace

from intact.model.container import Container
from intact.model.seam import Coverage, NodeStatus
from intact.run.web.metrics import show_nodes


def cover(unverified_bytes: int | None, verified_at: float) -> Coverage:
    return Coverage(
        container=Container(id="c", name="web", image="web", image_key=None, node="n1"),
        verdict="Intact",
        baseline_root=None,
        grade="",
        verified_at=50.0,
        layers_verified_at=verified_at,
        layers_unverified_bytes=unverified_bytes,
    )


def test_a_node_has_one_figure_each_however_many_containers_it_has() -> None:
    some = NodeStatus(node="n1", heard_at=100.0, tier="A", coverage=(cover(0, 40.0), cover(700, 30.0), cover(900, 0.0), cover(None, 0.0)))
    none = NodeStatus(node="n2", heard_at=90.0, tier="A")
    said = [line for line in show_nodes([some, none]).decode().splitlines() if not line.startswith("#")]
    assert said == [
        'intact_node_heard_timestamp_seconds{node="n1"} 100.0',
        'intact_node_heard_timestamp_seconds{node="n2"} 90.0',
        'intact_node_containers{node="n1"} 4.0',
        'intact_node_containers{node="n2"} 0.0',
        'intact_node_layers_unverified_bytes{node="n1"} 900.0',
        'intact_node_layers_unverified_bytes{node="n2"} 0.0',
        'intact_node_layers_unverified_containers{node="n1"} 2.0',
        'intact_node_layers_unverified_containers{node="n2"} 0.0',
        'intact_node_layers_unknown_containers{node="n1"} 1.0',
        'intact_node_layers_unknown_containers{node="n2"} 0.0',
        'intact_node_layers_verified_timestamp_seconds{node="n1"} 30.0',
    ]
    assert len(show_nodes([replace(some, coverage=some.coverage * 100)]).splitlines()) == len(show_nodes([some]).splitlines())


def test_what_a_node_calls_itself_breaks_no_line() -> None:
    said = show_nodes([NodeStatus(node='n"\n evil 1', heard_at=1.0, tier="A")]).decode()
    assert not any(line.startswith(" evil") for line in said.splitlines())
