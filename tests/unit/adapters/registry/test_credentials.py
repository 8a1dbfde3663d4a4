"""Which credentials count for which repository, from the files that Docker, Podman and Kubernetes write."""

import base64
import json
import os
from pathlib import Path

import pytest

from intact.adapters.registry.access import RegistryAccess, check_host, collect_mirrors
from intact.adapters.registry.credentials import find_auth_files, find_credentials
from intact.model.errors import InputError, PermanentError


def write(path: Path, auths: object, **more: object) -> RegistryAccess:
    path.write_text(json.dumps({"auths": auths, **more}))
    return RegistryAccess(auth_files=(path,), use_credential_helpers=True)


def login(user: str, password: str = "word") -> dict[str, str]:
    return {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}


def users(access: RegistryAccess, host: str, repository: str) -> list[str]:
    return [credential.username for credential in find_credentials(access, host, repository)]


def test_the_most_specific_key_comes_first(tmp_path: Path) -> None:
    auths = {
        "r.example": login("host"),
        "r.example/team": login("team"),
        "r.example/team/app": login("app"),
        "r.example/other": login("no"),
    }
    assert users(write(tmp_path / "a", auths), "r.example", "team/app") == ["app", "team", "host"]
    assert users(write(tmp_path / "a", auths), "r.example", "teamster/app") == ["host"], "a prefix ends at a slash"
    assert users(write(tmp_path / "a", auths), "r.example:5000", "team/app") == [], "another port is another registry"


@pytest.mark.parametrize("key", ["docker.io", "https://index.docker.io/v1/", "index.docker.io", "registry-1.docker.io"])
def test_docker_hub_has_many_names(tmp_path: Path, key: str) -> None:
    assert users(write(tmp_path / "a", {key: login("ada")}), "docker.io", "library/nginx") == ["ada"]


def test_kubernetes_globs_stand_for_one_label(tmp_path: Path) -> None:
    access = write(tmp_path / "a", {"*.r.example": login("glob"), "x.r.example": login("exact")})
    assert users(access, "x.r.example", "app") == ["exact", "glob"]
    assert users(access, "a.b.r.example", "app") == []


def test_a_name_and_password_an_identity_token_and_an_access_token(tmp_path: Path) -> None:
    auths = {"a": {"username": "u", "password": "p:q"}, "b": {"auth": "", "identitytoken": "i"}, "c": {"registrytoken": "t"}, "d": {}}
    access = write(tmp_path / "a", auths)
    (named,) = find_credentials(access, "a", "x")
    assert (named.username, named.password) == ("u", "p:q")
    assert find_credentials(access, "b", "x")[0].identity_token == "i"
    assert find_credentials(access, "c", "x")[0].access_token == "t"
    assert find_credentials(access, "d", "x") == ()


def test_a_secret_is_in_no_repr_and_no_message(tmp_path: Path) -> None:
    (found,) = find_credentials(write(tmp_path / "a", {"r": login("ada", "s3cret")}), "r", "x")
    assert "s3cret" not in repr(found) + str(found)
    broken = write(tmp_path / "b", {"r": {"auth": "s3cret!"}})
    with pytest.raises(InputError) as caught:
        find_credentials(broken, "r", "x")
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "[]", "{", "null", '{"auths": {"r": 5}}', '{"auths": {"r": {"auth": 5}}}', "x" * (2 << 20)])
def test_a_file_that_is_none_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "a").write_text(text)
    with pytest.raises(InputError, match="/a"):
        find_credentials(RegistryAccess(auth_files=(tmp_path / "a",)), "r", "x")


def test_a_header_cannot_be_smuggled_in(tmp_path: Path) -> None:
    access = write(tmp_path / "a", {"r": {"identitytoken": "x\r\nHost: evil"}})
    with pytest.raises(InputError, match="control characters"):
        find_credentials(access, "r", "x")


def test_where_the_files_are(tmp_path: Path) -> None:
    runtime, docker = tmp_path / "run/containers/auth.json", tmp_path / "home/.docker/config.json"
    assert find_auth_files({"REGISTRY_AUTH_FILE": "/named"}, tmp_path) == (Path("/named"),)
    assert find_auth_files({"XDG_RUNTIME_DIR": str(tmp_path / "run")}, tmp_path / "home") == ()
    for path in (runtime, docker):
        path.parent.mkdir(parents=True)
        path.write_text("{}")
    assert find_auth_files({"XDG_RUNTIME_DIR": str(tmp_path / "run")}, tmp_path / "home") == (runtime, docker)


def test_a_credential_helper_is_asked_where_the_file_names_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    helper = tmp_path / "docker-credential-lab"
    helper.write_text('#!/bin/sh\nread host; [ "$host" = r.example ] || exit 1\necho \'{"Username":"ada","Secret":"word"}\'\n')
    helper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    access = write(tmp_path / "a", {}, credHelpers={"r.example": "lab"}, credsStore="lab")
    assert users(access, "r.example", "x") == ["ada"]
    assert users(access, "other.example", "x") == []
    with pytest.raises(PermanentError, match="docker-credential-none"):
        find_credentials(write(tmp_path / "b", {}, credsStore="none"), "r.example", "x")
    assert users(write(tmp_path / "c", {}, credsStore="../../evil"), "r.example", "x") == []


@pytest.mark.parametrize("text", ["", "https://r.example", "r.example/x", "user@r", "a b", "-", "r:", "r:123456"])
def test_a_host_is_a_host(text: str) -> None:
    with pytest.raises(InputError, match="HOST"):
        check_host(text)


def test_mirrors_keep_their_order_and_their_prefix() -> None:
    access = RegistryAccess(mirrors=collect_mirrors([("docker.io", "m.example/hub"), ("docker.io", "n.example:5000")]))
    assert [str(one) for one in access.endpoints("index.docker.io", "library/nginx")] == [
        "m.example/hub/library/nginx",
        "n.example:5000/library/nginx",
        "index.docker.io/library/nginx",
    ]
    with pytest.raises(InputError):
        collect_mirrors([("docker.io", "m.example/../x")])
