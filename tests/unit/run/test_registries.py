"""The controller's file about registries: what it says is done, and what is spelt wrong is an error instead of nothing."""

import json
from pathlib import Path

import pytest

from intact.adapters.registry.access import RegistryAccess
from intact.model.errors import InputError
from intact.run.registries import read_registries


def test_all_of_it(tmp_path: Path) -> None:
    document = {
        "plainHttp": ["a:5000"], "insecureTLS": ["b"], "mirrors": {"docker.io": ["m/hub", "n"]}, "caFiles": ["/ca.crt"],
        "authDirectory": "/secrets", "concurrency": 5,
    }  # fmt: skip
    (tmp_path / "r.json").write_text(json.dumps(document))
    assert read_registries(tmp_path / "r.json") == RegistryAccess(
        plain_http=frozenset({"a:5000"}),
        insecure_tls=frozenset({"b"}),
        mirrors={"docker.io": ("m/hub", "n")},
        ca_files=(Path("/ca.crt"),),
        auth_directory=Path("/secrets"),
        concurrency=5,
    )


def test_without_a_file_it_is_anonymous_with_tls() -> None:
    assert read_registries(None) == RegistryAccess()


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "{",
        '{"insecureTls": ["b"]}',
        '{"plainHttp": "a"}',
        '{"plainHttp": ["http://a"]}',
        '{"mirrors": ["m"]}',
        '{"mirrors": {"a": "m"}}',
        '{"mirrors": {"a": ["m/UP"]}}',
        '{"concurrency": 0}',
        '{"concurrency": true}',
        '{"concurrency": 100}',
        '{"authDirectory": 5}',
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "r.json").write_text(text)
    with pytest.raises(InputError):
        read_registries(tmp_path / "r.json")


def test_a_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        read_registries(tmp_path / "none")
