"""Judging a compositor by what an app would be offered: the registries of real ones, and each interface by itself."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isod.bus.requests import parse_options
from isod_contract.limits import EXPOSED_ENTRIES_MAX
from isod_contract.options import WAYLAND_MODES, SessionInfo
from isod_contract.registry import FORBIDDEN, HARMLESS, beyond_windows, forbidden, is_forbidden
from isod_session.exposure import Exposure, judge
from isod_wire import Variant

# As measured: sway 1.10, weston 14, mutter 48, KWin 6.3 (shortened to what matters).
CORE = {"wl_compositor", "wl_shm", "wl_seat", "wl_output", "xdg_wm_base", "wp_viewporter", "zwp_linux_dmabuf_v1"}
SWAY = CORE | {
    "zwlr_screencopy_manager_v1",
    "zwlr_virtual_pointer_manager_v1",
    "zwp_virtual_keyboard_manager_v1",
    "zwlr_data_control_manager_v1",
    "zwlr_layer_shell_v1",
    "ext_session_lock_manager_v1",
    "wp_security_context_manager_v1",
}
WESTON = CORE | {"weston_capture_v1", "zwp_input_panel_v1"}

# A9: what no list of dangerous ones had, and what they did.
KWIN_BEYOND = (
    "appmenu",
    "kde_external_brightness_v1",
    "kde_output_device_v2",
    "kde_output_order_v1",
    "kde_screen_edge_manager_v1",
    "org_kde_kwin_dpms_manager",
    "org_kde_kwin_idle",
    "org_kde_plasma_virtual_desktop_management",
    "zwlr_data_control_manager_v1",
    "zwlr_layer_shell_v1",
)
KWIN_CONTAINED = CORE | set(KWIN_BEYOND)


def offered(names: set[str]) -> dict[str, int]:
    return dict.fromkeys(names, 1)


@pytest.mark.parametrize(
    ("plain", "contained", "expected"),
    [
        (SWAY, CORE, Exposure("context", ())),
        (CORE, None, Exposure("plain", ())),
        (WESTON, None, Exposure("unsafe", ("weston_capture_v1", "zwp_input_panel_v1"))),
        (KWIN_CONTAINED | {"wp_security_context_manager_v1"}, KWIN_CONTAINED, Exposure("context", KWIN_BEYOND)),
        (CORE | {"zwlr_layer_shell_v1"}, None, Exposure("plain", ("zwlr_layer_shell_v1",))),
        (set(), None, Exposure("plain", ())),
        (SWAY, set(), Exposure("context", ())),
    ],
    ids=["sway", "mutter", "weston", "KWin", "layer shell", "nothing", "nothing inside"],
)
def test_compositors_are_judged_as_measured(plain: set[str], contained: set[str] | None, expected: Exposure) -> None:
    assert judge(offered(plain), None if contained is None else offered(contained)) == expected


@pytest.mark.attack("C18")
@pytest.mark.parametrize("interface", sorted(FORBIDDEN))
def test_each_forbidden_interface_makes_a_compositor_unsafe_by_itself(interface: str) -> None:
    assert judge(offered(CORE | {interface}), None) == Exposure("unsafe", (interface,))
    assert judge(offered(CORE | {interface}), offered(CORE)) == Exposure("context", ())


@pytest.mark.attack("C18")
@pytest.mark.parametrize("interface", sorted(FORBIDDEN))
def test_a_context_that_offers_it_too_is_no_way_around(interface: str) -> None:
    plain = offered(CORE | {interface, "wp_security_context_manager_v1"})
    mode, exposed = judge(plain, offered(CORE | {interface}))
    assert (mode, interface in exposed) == ("unsafe", True)


@pytest.mark.attack("C18")
@pytest.mark.parametrize(
    "interface",
    [
        *("wp_drm_lease_device_v1", "zcosmic_screencopy_manager_v2", "zriver_control_v1", "phosh_private"),
        *("zwlr_input_inhibit_manager_v1", "weston_debug_v1", "org_kde_kwin_remote_access_manager"),
        *("org_kde_kwin_keystate", "treeland_capture_manager_v1", "jay_compositor"),
        # versions that nobody has seen yet
        *("zwlr_screencopy_manager_v7", "zwp_virtual_keyboard_manager_unstable_v2", "jay_toplevel_spy"),
    ],
)
def test_the_dangerous_ones_that_were_missing_are_refused_in_every_version(interface: str) -> None:
    """A9."""
    assert judge(offered(CORE | {interface}), None).mode == "unsafe"


@pytest.mark.attack("C18")
@pytest.mark.parametrize("interface", ["xyz_tomorrows_protocol_v1", "zwlr_layer_shell_v1", "wl_compositor_v2"])
def test_what_is_not_known_to_be_harmless_is_told(interface: str) -> None:
    """A9: the world grows; a list of what is dangerous is always too short."""
    assert judge(offered(SWAY), offered(CORE | {interface})) == Exposure("context", (interface,))
    assert judge(offered(CORE | {interface}), None) == Exposure("plain", (interface,))


@pytest.mark.parametrize("interface", sorted(HARMLESS))
def test_a_harmless_one_is_so_up_to_the_version_that_was_looked_at(interface: str) -> None:
    version = HARMLESS[interface]
    assert judge({interface: version}, None) == Exposure("plain", ())
    assert judge({interface: version + 1}, None) == Exposure("plain", (f"{interface}@{version + 1}",))


def test_nothing_is_both() -> None:
    assert not [name for name in HARMLESS if is_forbidden(name)]


def test_more_than_can_be_told_is_told_to_be_more() -> None:
    _, exposed = judge({f"one_{number}": 1 for number in range(500)}, None)
    assert (len(exposed), exposed[-1]) == (EXPOSED_ENTRIES_MAX, "and_more")


NAMES = st.dictionaries(
    st.sampled_from(sorted(FORBIDDEN | set(HARMLESS))) | st.text(max_size=8), st.integers(0, 2**32 - 1)
)


@given(NAMES, st.none() | NAMES)
def test_an_app_is_served_only_where_it_reaches_nothing_forbidden(
    plain: dict[str, int], contained: dict[str, int] | None
) -> None:
    mode, exposed = judge(plain, contained)
    assert mode in WAYLAND_MODES
    served = {"context": contained, "plain": plain}.get(mode)
    if served is None:
        assert mode == "unsafe"
        assert exposed
        assert set(exposed) == set(forbidden(plain))
    else:
        assert not forbidden(served)
        assert sorted(exposed) == beyond_windows(served)
    # Whatever a compositor calls its interfaces, isod takes it: else the session would have no display.
    told = {"wayland": Variant("s", mode), "exposed": Variant("as", list(exposed))}
    assert parse_options(SessionInfo, told, 0).exposed == exposed
