"""The operator can have less heard than the kernel tells, never more, and is told which it is."""

from __future__ import annotations

import pytest

from intact.adapters.linux.hearing import limit_tier
from intact.model.errors import InputError
from intact.observe.ports import Tier
from intact.run.settings import read_agent_settings

AGENT = {"INTACT_NODE_NAME": "n1", "INTACT_CONTROLLER_URL": "https://controller"}


@pytest.mark.parametrize(("found", "wanted", "used"), [("A", "A", "A"), ("A", "B", "B"), ("A", "C", "C"), ("B", "A", "B"), ("C", "B", "C")])
def test_a_tier_is_only_ever_limited(found: str, wanted: str, used: str) -> None:
    tier = limit_tier(Tier(name=found, reason="as tested"), wanted)
    assert tier.name == used
    assert tier.reason == "as tested" if used == found else found in tier.reason and "operator" in tier.reason


def test_a_tier_that_does_not_exist_is_refused_by_name() -> None:
    assert read_agent_settings(AGENT).best_tier == "A"
    assert read_agent_settings({**AGENT, "INTACT_TIER": "C"}).best_tier == "C"
    with pytest.raises(InputError, match="INTACT_TIER"):
        read_agent_settings({**AGENT, "INTACT_TIER": "D"})
