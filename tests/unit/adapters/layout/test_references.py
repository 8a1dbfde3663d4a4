"""Names of images in registries: what is one leads where it says, and nothing in one leads elsewhere."""

import pytest

from intact.adapters.layout.names import RegistryName, parse_reference
from intact.model.errors import InputError

DIGEST = "sha256:" + "0" * 64


@pytest.mark.parametrize(
    ("text", "host", "repository", "reference"),
    [
        ("nginx", "docker.io", "library/nginx", "latest"),
        ("team/app:1", "docker.io", "team/app", "1"),
        ("r.example/a/b-c/d_e.f__g:v1.0-rc_1", "r.example", "a/b-c/d_e.f__g", "v1.0-rc_1"),
        (f"localhost:5000/a:1@{DIGEST}", "localhost:5000", "a", DIGEST),
        (f"[::1]:5000/a@{DIGEST}", "[::1]:5000", "a", DIGEST),
    ],
)
def test_a_reference_is_read(text: str, host: str, repository: str, reference: str) -> None:
    assert parse_reference(text) == RegistryName(host=host, repository=repository, reference=reference)


@pytest.mark.parametrize(
    "text",
    [
        "", "/", "r.example/", "r.example/A:1", "r.example/a:", "r.example/a:b:c", "r.example/a@b", f"r.example/a@{DIGEST}@{DIGEST}",
        "r.example/../../x:1", "r.example/a//b:1", "r.example/a?x=1:1", "r.example/a#b:1", "r.example/a b:1", "r.example/a%2f:1",
        "user@r.example/a:1", "r.example:port/a:1", "r..example/a:1\n", "r.example/a:1\n", "r.example/" + "a" * 300,
    ],
)  # fmt: skip
def test_what_is_no_reference_is_refused(text: str) -> None:
    with pytest.raises(InputError):
        parse_reference(text)
