"""Names that several platforms share mean one of them, and never another than the one that was asked for."""

import pytest

from intact.model.platforms import fits, pick_platform

AMD, ARM, ARM_V8, V6, V7 = "linux/amd64", "linux/arm64", "linux/arm64/v8", "linux/arm/v6", "linux/arm/v7"


@pytest.mark.parametrize(
    ("offered", "wanted", "picked"),
    [
        ([AMD, ARM], AMD, AMD),
        ([AMD, ARM], ARM, ARM),
        ([AMD, ARM], "", None),
        ([AMD], "", AMD),
        ([AMD], ARM, None),
        ([AMD, ARM_V8], ARM, ARM_V8),
        ([AMD, ARM], ARM_V8, ARM),
        ([V6, V7], V7, V7),
        ([V6, V7], "linux/arm", None),
        ([""], ARM, ""),
        (["", AMD], AMD, AMD),
        (["", AMD], ARM, ""),
        ([], AMD, None),
        ([], "", None),
    ],
)
def test_a_shared_name_means_the_wanted_platform_or_nothing(offered: list[str], wanted: str, picked: str | None) -> None:
    assert pick_platform(offered, wanted) == picked


def test_a_variant_counts_only_where_both_name_one() -> None:
    assert fits(ARM_V8, ARM) and fits(ARM, ARM_V8) and fits(V7, V7)
    assert not fits(V6, V7) and not fits(AMD, ARM)
