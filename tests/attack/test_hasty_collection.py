"""Somebody lets everything go beside a controller that runs: what its nodes run stays, as it said so itself not long ago."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner

from intact.adapters.store.baselines import BaselineDirectory
from intact.baseline.store import BaselineStore
from intact.run.cli import cli
from intact.run.cluster.housekeeping import EVERY_S
from tests.unit.baseline.test_store import OWN, make_baseline


@pytest.mark.parametrize("days", ["0", "1"])
def test_nothing_that_runs_can_be_let_go_between_two_marks_of_the_controller(days: str, tmp_path: Path) -> None:
    """It would not be computed again before the next start: the controller believes that it has it."""
    assert EVERY_S < 86_400
    with closing(BaselineDirectory(tmp_path / "baselines")) as files:
        store = BaselineStore(files, signer=OWN)
        store.put(make_baseline(b"app"))
        CliRunner().invoke(cli, ["baseline", "gc", "--state-dir", str(tmp_path), "--retain-days", days])
        assert store.keys() == (make_baseline(b"app").key,)
