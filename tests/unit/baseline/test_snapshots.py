"""Names in a snapshot directory: which file is whose, and none that leads elsewhere."""

import pytest

from intact.baseline.formats.snapshots import SnapshotName, file_name, group, parse_file_name
from intact.model.errors import InputError

WEB = SnapshotName("shop", "web", "1.2")


@pytest.mark.parametrize(
    ("relative", "found"),
    [
        ("shop/web/1.2.sha256", (WEB, "sha256")),
        ("shop/web/1.2.SHA256", (WEB, "sha256")),
        ("shop/web/1.2.sha-512", (WEB, "sha512")),
        ("shop/web/1.2.MD5", (WEB, "md5")),
        ("shop/team/web/1.2.sha1", (SnapshotName("shop", "team/web", "1.2"), "sha1")),
        ("shop/web/1.2.txt", None),
        ("shop/web/sha256", None),
        ("web/1.2.sha256", None),
        ("shop/web/.sha256", None),
        ("shop/../1.2.sha256", None),
        ("shop/web/-x.sha256", None),
        ("shop//1.2.sha256", None),
    ],
)
def test_a_file_is_of_the_image_its_place_says(relative: str, found: tuple[SnapshotName, str] | None) -> None:
    assert parse_file_name(relative) == found


@pytest.mark.parametrize("text", ["", "a/b", "../../etc/x", "a/./b", "/a/b/c", "a/b/c/", "a/b/c\0", "a/b/ c", "a/b/" + "x" * 300])
def test_a_name_never_leads_out_of_the_directory(text: str) -> None:
    with pytest.raises(InputError, match="NAMESPACE/IMAGE/TAG"):
        SnapshotName.parse(text)


def test_files_are_grouped_by_image_and_the_rest_is_named() -> None:
    found, others = group(["shop/web/1.2.md5", "shop/web/1.2.sha256", "README.md"])
    assert found == {WEB: {"md5": "shop/web/1.2.md5", "sha256": "shop/web/1.2.sha256"}}
    assert others == ["README.md"]
    assert file_name(WEB, "md5") == "shop/web/1.2.md5"


def test_two_files_of_one_image_and_algorithm_are_refused() -> None:
    with pytest.raises(InputError, match=r"are both shop/web/1\.2 by sha256"):
        group(["shop/web/1.2.sha256", "shop/web/1.2.SHA256"])
