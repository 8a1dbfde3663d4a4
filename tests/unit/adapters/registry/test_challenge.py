"""What a registry demands, and how long it wants to be left alone."""

import pytest

from intact.adapters.registry.challenge import parse_challenges
from intact.adapters.registry.connection import parse_retry_after


def test_one_header_may_hold_several_challenges() -> None:
    found = parse_challenges(['Bearer realm="https://a/token",service="s",scope="repository:a,b:pull,push", Basic realm="x \\"y\\""'])
    assert [(challenge.scheme, dict(challenge.parameters)) for challenge in found] == [
        ("bearer", {"realm": "https://a/token", "service": "s", "scope": "repository:a,b:pull,push"}),
        ("basic", {"realm": 'x "y"'}),
    ]


def test_names_are_in_any_case_and_values_may_go_without_quotes() -> None:
    (found,) = parse_challenges(["BEARER Realm=https://a/token , SERVICE=s"])
    assert (found.scheme, dict(found.parameters)) == ("bearer", {"realm": "https://a/token", "service": "s"})


def test_the_first_of_two_values_counts() -> None:
    (found,) = parse_challenges(['Bearer realm="a",realm="b"'])
    assert found.parameters["realm"] == "a"


@pytest.mark.parametrize("value", ["", ",", "=", '"', "Basic", "Basic ,,,", 'Basic realm="', "\0", "a" * 100_000, ", " * 50_000])
def test_what_is_no_challenge_is_none_of_ours(value: str) -> None:
    assert all(not challenge.parameters for challenge in parse_challenges([value]))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        ("12", 12),
        ("Thu, 01 Jan 1970 00:01:40 GMT", 40),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
        ("", 0),
        ("soon", 0),
        ("-5", 0),
        ("9" * 400, 999_999_999),
    ],
)
def test_retry_after_is_seconds_or_a_date(text: str, seconds: float) -> None:
    assert parse_retry_after(text, now=60.0) == seconds
