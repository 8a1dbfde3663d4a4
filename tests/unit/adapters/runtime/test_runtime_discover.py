"""Finding the runtime's socket, and a container by what people call it."""

import socket
from pathlib import Path

import pytest

from intact.adapters.runtime.discover import find_container, find_socket
from intact.model.container import Container, Pod, Running
from intact.model.errors import InputError


@pytest.fixture
def host(tmp_path: Path) -> Path:
    """A host's root with k3s' socket and nothing else."""
    directory = tmp_path / "run/k3s/containerd"
    directory.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(directory / "containerd.sock"))
    return tmp_path


def test_the_first_usual_path_that_is_a_socket(host: Path) -> None:
    expected = str(host / "run/k3s/containerd/containerd.sock")
    assert find_socket(environment={}, host=str(host)) == expected
    (host / "run/containerd").mkdir()
    (host / "run/containerd/containerd.sock").write_text("no socket")
    assert find_socket(environment={}, host=str(host)) == expected


def test_what_is_named_goes_before_the_environment_and_both_before_the_usual(host: Path) -> None:
    there = str(host / "run/k3s/containerd/containerd.sock")
    assert find_socket("unix://" + there, environment={"CONTAINERD_ADDRESS": "/nowhere"}) == there
    assert find_socket(environment={"CONTAINERD_ADDRESS": there}, host="/nowhere") == there
    with pytest.raises(InputError, match=r"/nowhere \(CONTAINERD_ADDRESS\) does not exist"):
        find_socket(environment={"CONTAINERD_ADDRESS": "/nowhere"}, host=str(host))
    with pytest.raises(InputError, match="is not a socket"):
        find_socket(str(host), environment={"CONTAINERD_ADDRESS": there})


def test_nothing_found_names_what_was_tried(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"run/containerd/containerd\.sock does not exist.*k3s.*CONTAINERD_ADDRESS"):
        find_socket(environment={}, host=str(tmp_path))


def make(id: str, pod: str = "", name: str = "") -> Running:
    container = Container(
        id=id,
        name=name or id,
        image="web:1",
        image_key=None,
        node="n",
        pod=Pod(namespace="shop", name=pod, uid=pod) if pod else None,
    )
    return Running(container=container, init_pid=1, mounted=None, unobservable="a test")


WEB = make("aa" + "0" * 62, "web-0", "nginx")
WEB_SANDBOX = make("ab" + "0" * 62, "web-0", "POD")
TWO = make("ba" + "0" * 62, "two-0", "app")
TWO_PROXY = make("bb" + "0" * 62, "two-0", "proxy")
BY_HAND = make("default-id")
ELSEWHERE = make("build/job")
ALL = (WEB, WEB_SANDBOX, TWO, TWO_PROXY, BY_HAND, ELSEWHERE)


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (WEB.container.id, WEB),
        ("aa", WEB),
        ("web-0", WEB),
        ("shop/web-0", WEB),
        ("web-0/POD", WEB_SANDBOX),
        ("shop/two-0/proxy", TWO_PROXY),
        ("app", TWO),
        ("default-id", BY_HAND),
        ("job", ELSEWHERE),
        ("build/job", ELSEWHERE),
    ],
)
def test_a_container_is_found_by(wanted: str, found: Running) -> None:
    assert find_container(ALL, wanted) is found


@pytest.mark.parametrize(("wanted", "named"), [("two-0", "shop/two-0/app"), ("b", "shop/two-0/proxy"), ("a", "web-0/nginx")])
def test_several_are_named(wanted: str, named: str) -> None:
    with pytest.raises(InputError, match=named) as caught:
        find_container(ALL, wanted)
    assert caught.value.code == "Ambiguous"


def test_many_are_named_in_part() -> None:
    many = tuple(make(f"{number:064x}") for number in range(500))
    with pytest.raises(InputError, match="and 490 more") as caught:
        find_container(many, "0")
    assert len(str(caught.value)) < 2000


@pytest.mark.parametrize("wanted", ["", "nobody", "\x1b[2J"])
def test_none_says_so(wanted: str) -> None:
    with pytest.raises(InputError) as caught:
        find_container(ALL, wanted)
    assert "\x1b" not in str(caught.value)
