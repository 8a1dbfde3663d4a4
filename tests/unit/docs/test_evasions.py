"""The page of evasions names tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

REPOSITORY = Path(__file__).parents[3]
TEXT = (REPOSITORY / "docs/evasions.md").read_text()
ROWS = [row for row in TEXT.splitlines() if row.startswith("| ") and not row.startswith(("| what", "|-"))]


def test_every_evasion_names_a_test_that_exists() -> None:
    assert len(ROWS) > 40
    for row in ROWS:
        named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?(?:\[([^\]]+)\])?`", row.rpartition(" | ")[2])
        assert named, row
        for path, name, example in named:
            source = (REPOSITORY / path).read_text()
            assert not name or f"def {name}(" in source, f"{path}::{name}"
            assert not example or f'"{example}"' in source, f"{path}::{name}[{example}]"
