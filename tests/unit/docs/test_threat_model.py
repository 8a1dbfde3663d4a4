"""The threat model cites tests that exist, and tests cite lines that exist."""

from __future__ import annotations

import re
from pathlib import Path

REPOSITORY = Path(__file__).parents[3]
TEXT = (REPOSITORY / "docs/threat-model.md").read_text()
LINES = set(re.findall(r"^\* \*\*([A-Z]\d+)", TEXT, re.MULTILINE))


def test_every_proof_names_a_test_that_exists() -> None:
    proofs = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", TEXT)
    assert proofs
    for path, name in proofs:
        source = (REPOSITORY / path).read_text()
        assert not name or f"def {name}(" in source, f"{path}::{name}"


def test_every_proof_is_of_a_line_that_exists_and_no_number_is_used_twice() -> None:
    table = TEXT[TEXT.index("## Proofs") :]
    proven = {line for row in re.findall(r"^\| ([A-Z0-9, ]+) \|", table, re.MULTILINE) for line in row.split(", ")}
    assert proven <= LINES
    assert len(LINES) == len(re.findall(r"^\* \*\*[A-Z]\d+", TEXT, re.MULTILINE))


def test_attacks_cite_lines_that_exist() -> None:
    for path in sorted((REPOSITORY / "tests/attack").glob("test_*.py")):
        for cited in re.findall(r'^    """([A-Z]\d+(?:, [A-Z]\d+)*)[:.]', path.read_text(), re.MULTILINE):
            assert set(cited.split(", ")) <= LINES, f"{path.name}: {cited}"
