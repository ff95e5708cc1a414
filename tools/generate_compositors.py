"""Write into SECURITY.md what remains beyond windows on each compositor that was tried.

The table below is what tests/lab/gui/test_compositors.py finds on the real ones. `--check` writes nothing and fails if
the page differs from what would be written.
"""

import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tools")]

from generated_files import update  # noqa: E402 - the path comes first

PAGE = "SECURITY.md"
_BEGIN, _END = "<!-- compositors -->\n", "<!-- end of compositors -->\n"


class Tried(NamedTuple):
    """One compositor as an app in a container meets it with `wayland = "secured"`."""

    kind: str  # as the lab calls it
    name: str
    mode: str  # isod_contract.options.WAYLAND_MODES
    remains: tuple[str, ...]  # what is not known to be harmless; of an unsafe one what makes it that
    means: str


TRIED = (
    Tried("sway", "sway 1.10", "context", (), "nothing"),
    Tried("labwc", "labwc 0.8", "context", (), "nothing"),
    Tried(
        "mutter",
        "mutter 48 (GNOME)",
        "plain",
        ("zwp_keyboard_shortcuts_inhibit_manager_v1",),
        "ask for all keys while its window has the focus; GNOME asks the user",
    ),
    Tried(
        "kwin",
        "KWin 6.3 (KDE Plasma)",
        "context",
        (
            "kde_external_brightness_v1",
            "kde_output_device_v2",
            "kde_output_management_v2",
            "kde_output_order_v1",
            "kde_screen_edge_manager_v1",
            "org_kde_kwin_appmenu_manager",
            "org_kde_kwin_dpms_manager",
            "org_kde_kwin_idle",
            "org_kde_plasma_shell",
            "org_kde_plasma_virtual_desktop_management",
            "zwlr_data_control_manager_v1",
            "zwlr_layer_shell_v1",
            "zwp_keyboard_shortcuts_inhibit_manager_v1",
        ),
        "read and replace the clipboard at any time, draw over the whole screen, set up, dim and turn off the screens, "
        "switch desktops, and take all keys while its window has the focus",
    ),
    Tried("weston", "weston 14", "unsafe", ("weston_capture_v1", "weston_debug_v1", "zwp_input_panel_v1"), "nothing"),
)


def page() -> str:
    """Give the page with the table as it is now."""
    head, _, rest = (ROOT / PAGE).read_text().partition(_BEGIN)
    _, _, tail = rest.partition(_END)
    rows = ["| Compositor | An app in a container can also |\n", "|---|---|\n"]
    for tried in TRIED:
        if tried.mode == "unsafe":
            what = f"get no display: the compositor gives all its clients {', '.join(tried.remains)}"
        elif tried.remains:
            what = f"{tried.means} ({', '.join(f'`{name}`' for name in tried.remains)})"
        else:
            what = "do nothing else"
        rows.append(f"| {tried.name} | {what} |\n")
    return f"{head}{_BEGIN}{''.join(rows)}{_END}{tail}"


def main(arguments: list[str]) -> int:
    """Generate, or check with `--check`; 1 if a check found a difference."""
    check = arguments == ["--check"]
    if arguments and not check:
        sys.stderr.write("usage: generate_compositors.py [--check]\n")
        return 2
    return 0 if update({PAGE: page}, check=check) or not check else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
