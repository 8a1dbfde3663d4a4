"""Where the default store is follows storage.conf(5), for root and for users."""

from pathlib import Path

import pytest

from intact.adapters.containers_storage.place import Place, default_place
from intact.model.errors import InputError


def conf(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_without_a_file_roots_store_and_a_users_are_the_usual_ones() -> None:
    root = default_place({"HOME": "/root"}, uid=0, system=())
    assert root == Place(graphroot=Path("/var/lib/containers/storage"), runroot=Path("/run/containers/storage"))
    assert default_place({"HOME": "/home/ann"}, uid=7, system=()).graphroot == Path("/home/ann/.local/share/containers/storage")
    assert default_place({"HOME": "/h", "XDG_DATA_HOME": "/d"}, uid=7, system=()).graphroot == Path("/d/containers/storage")


def test_the_first_file_that_is_there_counts(tmp_path: Path) -> None:
    text = '[storage]\ndriver="overlay2"\ngraphroot="/g"\nrunroot="/r"\n[storage.options]\nadditionalimagestores=["/one","/two"]\n'
    files = (tmp_path / "none", conf(tmp_path / "a", text), conf(tmp_path / "b", '[storage]\ngraphroot="/other"\n'))
    expected = Place(graphroot=Path("/g"), driver="overlay", runroot=Path("/r"), additional=(Path("/one"), Path("/two")))
    assert default_place({}, uid=0, system=files) == expected
    assert default_place({"CONTAINERS_STORAGE_CONF": str(files[2])}, uid=0, system=files).graphroot == Path("/other")
    assert default_place({"STORAGE_DRIVER": "vfs"}, uid=0, system=files).driver == "vfs"


def test_a_user_is_not_sent_to_roots_store(tmp_path: Path) -> None:
    system = (conf(tmp_path / "system", '[storage]\ngraphroot="/g"\nrootless_storage_path="/s/$USER/$UID"\n'),)
    environment = {"HOME": "/home/ann"}
    assert default_place(environment, uid=7, system=system).graphroot == Path("/s/ann/7")
    system[0].write_text('[storage]\ngraphroot="/g"\n')
    assert default_place(environment, uid=7, system=system).graphroot == Path("/home/ann/.local/share/containers/storage")
    conf(tmp_path / "home/containers/storage.conf", '[storage]\ngraphroot="$HOME/mine"\n')
    environment["XDG_CONFIG_HOME"] = str(tmp_path / "home")
    assert default_place(environment, uid=7, system=system).graphroot == Path("/home/ann/mine")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[storage\n", "malformed"),
        ("storage = 1\n", "is not a table"),
        ("[storage]\ngraphroot = 1\n", "is not a text"),
        ('[storage]\n[storage.options]\nadditionalimagestores = "x"\n', "is not a list"),
        ('[storage]\ndriver = "btrfs"\n', "'btrfs' cannot be read.*overlay and vfs"),
        ("\xff", "malformed"),
        ("#" * (2 << 20), "larger than"),
    ],
)
def test_a_file_that_is_wrong_is_told(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "storage.conf"
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match=said):
        default_place({}, uid=0, system=(file,))
