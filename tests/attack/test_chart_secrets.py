"""What must not get into objects of the cluster that anybody may read (threat model, D2)."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

SCHEMA = Path(__file__).parents[2] / "deploy/chart/values.schema.json"


def takes(schema: dict[str, Any], text: str) -> bool:
    return re.search(schema["pattern"], text) is not None and re.search(schema["not"]["pattern"], text) is None


@pytest.mark.parametrize("options", ["", "?sslmode=verify-full&sslcert=/c.pem"])
@pytest.mark.parametrize("host", ["db.example:5432", "db.example", "[2001:db8::1]:5432", "db1.example:5432,db2.example"])
def test_the_chart_takes_no_password_as_a_value(host: str, options: str) -> None:
    """It would stand in the Deployment and in Helm's record of the release."""
    database = json.loads(SCHEMA.read_text())["properties"]["database"]["properties"]["url"]
    for scheme in ("postgresql", "postgres", "postgresql+psycopg"):
        for user in ("", "intact@"):
            assert takes(database, f"{scheme}://{user}{host}/intact{options}"), user
        for user in ("intact:secret@", ":secret@", "intact:se@cret@", "intact:@"):
            assert not takes(database, f"{scheme}://{user}{host}/intact{options}"), user
        joint = "&" if options else "?"
        assert not takes(database, f"{scheme}://intact@{host}/intact{options}{joint}password=secret")
    assert takes(database, "")
