"""What a list of apps says of each: bounded, whatever the commands were."""

import pytest

from isod.core.shorten import shortened, size_of, that_fit


@pytest.mark.parametrize(
    ("argv", "shown"),
    [
        (["true"], ["true"]),
        ([], []),
        (["sh", "-c", "x" * 250], ["sh", "-c", "x" * 250]),
        (["sh", "-c", "x" * 251], ["sh", "-c", "x" * 250 + "…"]),
        (["y" * 256, "z"], ["y" * 256, "…"]),
        (["y" * 255, "", "z"], ["y" * 255, "", "…"]),
        ([""] * 3, [""] * 3),
    ],
)
def test_a_command_is_cut_where_it_gets_long(argv: list[str], shown: list[str]) -> None:
    assert shortened(argv) == shown


def test_many_arguments_are_cut_as_well() -> None:
    assert len(shortened([""] * 10_000)) < 300
    assert sum(map(len, shortened(["ab"] * 10_000))) < 300


def test_the_first_that_fit_are_given() -> None:
    assert that_fit([(40, "a"), (40, "b"), (40, "c"), (1, "d")], 100) == ["a", "b"]
    assert size_of(["abc", "é"], 10) == 10 + 11 + 10
