"""Values that are well formed and mean nothing: times no calendar has, numbers and nesting no parser likes."""

from __future__ import annotations

from pathlib import Path

import pytest

from intact.adapters.cluster.bodies import node_body
from intact.model.errors import InputError
from intact.model.seam import Gap, NodeStatus
from intact.run.cli.watch import read_policy


@pytest.mark.parametrize("at", [1e300, -1e300, 1e12, -1e12])
def test_a_node_that_claims_an_impossible_time_does_not_end_the_controller(at: float) -> None:
    status = NodeStatus(node="n1", heard_at=1.0, tier="A", gaps=(Gap(since=at, until=at, reason="x"),))
    gap = node_body(status)["status"]["gaps"][0]
    assert gap["since"] in ("1970-01-01T00:00:00Z", "9999-12-31T00:00:00Z")


@pytest.mark.parametrize("text", ["[" * 50_000, "a: " + "9" * 6000, "a: 2027-99-99", "? [a]\n: b\n", "a: &a [*a]"])
def test_a_policy_that_no_parser_likes_is_refused_in_words(text: str, tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text(text)
    with pytest.raises(InputError, match=r"policy\.yaml"):
        read_policy(tmp_path / "policy.yaml")
