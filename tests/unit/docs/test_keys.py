"""The page about keys names tests that exist, and shows a trust root as it is."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from intact.baseline.trust_document import FORMAT, encode_trust, parse_trust
from intact.decide.grammar import CLUSTER, parse_policy
from tests.unit.baseline.test_trust import ROOT

REPOSITORY = Path(__file__).parents[3]
TEXT = (REPOSITORY / "docs/keys.md").read_text()
BLOCKS = re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)


def test_every_test_that_is_named_exists() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", TEXT)
    assert len(named) > 10
    for path, name in named:
        source = (REPOSITORY / path).read_text()
        assert not name or f"def {name}(" in source, f"{path}::{name}"


def test_the_trust_root_it_shows_has_the_fields_of_a_trust_root() -> None:
    (block,) = (one for one in BLOCKS if "publicKey" in one)
    shown, written = yaml.safe_load(block), yaml.safe_load(encode_trust(ROOT.revoke("sha256:" + "0" * 64, 1.0, "stolen")))
    assert shown["format"] == FORMAT
    assert shown.keys() == written.keys()
    assert shown["revoked"][0].keys() == written["revoked"][0].keys()
    assert {name for key in shown["keys"] for name in key} == {name for key in written["keys"] for name in key}
    assert parse_trust(encode_trust(ROOT)) == ROOT


def test_the_identity_it_shows_is_one_that_a_policy_may_name() -> None:
    (block,) = (one for one in BLOCKS if "identity" in one)
    (signatory,) = parse_policy({"metadata": {"name": "p"}, "spec": yaml.safe_load(block)}, CLUSTER).signed_by
    assert signatory.accepts(signatory.identity.replace("*", "v1.2.3"))
