"""Judging a compositor by what an app would be offered: the registries of real ones, and each interface by itself."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isod_contract.limits import EXPOSED_ENTRIES_MAX
from isod_contract.options import WAYLAND_MODES
from isod_contract.registry import FORBIDDEN, NOTABLE
from isod_session.exposure import Exposure, judge

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
KWIN_CONTAINED = CORE | {"ext_data_control_manager_v1", "zwlr_layer_shell_v1"}


@pytest.mark.parametrize(
    ("plain", "contained", "expected"),
    [
        (SWAY, CORE, Exposure("context", ())),
        (CORE, None, Exposure("plain", ())),
        (WESTON, None, Exposure("unsafe", ("weston_capture_v1", "zwp_input_panel_v1"))),
        (
            KWIN_CONTAINED | {"wp_security_context_manager_v1"},
            KWIN_CONTAINED,
            Exposure("context", ("ext_data_control_manager_v1", "zwlr_layer_shell_v1")),
        ),
        (CORE | {"zwlr_layer_shell_v1"}, None, Exposure("plain", ("zwlr_layer_shell_v1",))),
        (set(), None, Exposure("plain", ())),
        (SWAY, set(), Exposure("context", ())),
    ],
    ids=["sway", "mutter", "weston", "KWin", "layer shell", "nothing", "nothing inside"],
)
def test_compositors_are_judged_as_measured(plain: set[str], contained: set[str] | None, expected: Exposure) -> None:
    assert judge(plain, contained) == expected


@pytest.mark.attack("C18")
@pytest.mark.parametrize("interface", sorted(FORBIDDEN))
def test_each_forbidden_interface_makes_a_compositor_unsafe_by_itself(interface: str) -> None:
    assert judge(CORE | {interface}, None) == Exposure("unsafe", (interface,))
    assert judge(CORE | {interface}, CORE) == Exposure("context", ())


@pytest.mark.attack("C18")
@pytest.mark.parametrize("interface", sorted(FORBIDDEN))
def test_a_context_that_offers_it_too_is_no_way_around(interface: str) -> None:
    mode, exposed = judge(CORE | {interface, "wp_security_context_manager_v1"}, CORE | {interface})
    assert (mode, interface in exposed) == ("unsafe", True)


@pytest.mark.parametrize("interface", sorted(NOTABLE))
def test_what_is_more_than_an_app_needs_is_told(interface: str) -> None:
    assert judge(SWAY, CORE | {interface}) == Exposure("context", (interface,))
    assert judge(CORE | {interface}, None) == Exposure("plain", (interface,))


def test_nothing_is_both_and_all_of_it_can_be_told_to_isod() -> None:
    assert not FORBIDDEN & NOTABLE
    assert max(len(FORBIDDEN), len(NOTABLE)) <= EXPOSED_ENTRIES_MAX


NAMES = st.sets(st.sampled_from(sorted(FORBIDDEN | NOTABLE | CORE)) | st.text(max_size=8))


@given(NAMES, st.none() | NAMES)
def test_an_app_is_served_only_where_it_reaches_nothing_forbidden(plain: set[str], contained: set[str] | None) -> None:
    mode, exposed = judge(plain, contained)
    assert mode in WAYLAND_MODES
    served = {"context": contained, "plain": plain}.get(mode)
    if served is None:
        assert mode == "unsafe"
        assert exposed
        assert set(exposed) <= FORBIDDEN
    else:
        assert not served & FORBIDDEN
        assert set(exposed) == served & NOTABLE
