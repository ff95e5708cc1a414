"""What a list of apps says of each: bounded, whatever the commands were."""

import pytest

from isod.bus.objects.app import _shortened


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
    assert _shortened(argv) == shown


def test_many_arguments_are_cut_as_well() -> None:
    assert len(_shortened([""] * 10_000)) < 300
    assert sum(map(len, _shortened(["ab"] * 10_000))) < 300
