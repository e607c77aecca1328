"""Counts and intervals as they are printed."""

import pytest

from saltus.emerge.labels import format_beyond, format_count, format_interval


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0"),
        (1.5, "1.5"),
        (600, "600"),
        (999.7, "1k"),
        (6_700, "6.7k"),
        (9_960, "10k"),
        (41_000, "41k"),
        (148_032, "148k"),
        (999_600, "1M"),
        (1_200_000, "1.2M"),
        (2_097_152, "2.1M"),
        (4.4e9, "4.4B"),
        (3e13, "30T"),
    ],
)
def test_count(count: float, text: str) -> None:
    assert format_count(count) == text


def test_a_count_that_is_none_is_refused() -> None:
    for count in (-1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="count"):
            format_count(count)


def test_open_ends_are_printed_against_the_range_tried() -> None:
    assert format_interval(41e3, 31e3, 56e3, 600, 148e3) == "41k [31k, 56k]"
    assert format_interval(120e3, 70e3, None, 600, 148e3) == "120k [70k, > 148k]"
    assert format_interval(9e3, None, 20e3, 600, 148e3) == "9k [< 600, 20k]"
    assert format_interval(None, 31e3, 56e3, 600, 148e3) == "[31k, 56k]"


def test_what_lies_beyond_the_range_is_told_with_a_limit_within_it() -> None:
    assert format_beyond(True, None, 600, 148e3) == "> 148k"
    assert format_beyond(True, 148e3, 600, 148e3) == "> 148k"
    assert format_beyond(True, 90e3, 600, 148e3) == "> 148k [90k, > 148k]"
    assert format_beyond(True, 147_999.9, 600, 148e3) == "> 148k"
    assert format_beyond(True, 300, 600, 148e3) == "> 148k [< 600, > 148k]"
    assert format_beyond(False, None, 600, 148e3) == "< 600"
    assert format_beyond(False, 2e3, 600, 148e3) == "< 600 [< 600, 2k]"
