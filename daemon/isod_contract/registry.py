"""What a Wayland registry may offer a contained app: what is known to be harmless, and what no app must reach.

New interfaces appear every year, and a compositor may offer any of them to clients of a security context. So it is not
what is known to be dangerous that counts, but what is known not to be: all else is beyond windows, and told.
"""

import re
from collections.abc import Iterable, Mapping

# Windows of one's own, and input to them while they have the focus. The number is the highest version that was looked
# at: a later one may have requests that were not.
HARMLESS: Mapping[str, int] = {
    # wayland.xml
    "wl_compositor": 7,
    "wl_data_device_manager": 4,  # the clipboard, at an input event in a window of one's own
    "wl_fixes": 2,
    "wl_output": 4,
    "wl_seat": 11,
    "wl_shell": 1,
    "wl_shm": 2,
    "wl_subcompositor": 1,
    # Mesa's, of before dmabuf
    "wl_drm": 2,
    # wayland-protocols, stable
    "wp_presentation": 2,
    "wp_viewporter": 1,
    "xdg_wm_base": 7,
    "zwp_linux_dmabuf_v1": 5,
    "zwp_tablet_manager_v2": 2,
    # wayland-protocols, staging
    "ext_background_effect_manager_v1": 1,
    "ext_idle_notifier_v1": 2,  # when the user is away, and nothing else
    "wp_alpha_modifier_v1": 1,
    "wp_color_manager_v1": 2,
    "wp_color_representation_manager_v1": 1,
    "wp_commit_timing_manager_v1": 1,
    "wp_content_type_manager_v1": 1,
    "wp_cursor_shape_manager_v1": 2,
    "wp_fifo_manager_v1": 1,
    "wp_fractional_scale_manager_v1": 1,
    "wp_linux_drm_syncobj_manager_v1": 1,
    "wp_pointer_warp_v1": 1,  # in the window that has the pointer
    "wp_single_pixel_buffer_manager_v1": 1,
    "wp_tearing_control_manager_v1": 1,
    "xdg_activation_v1": 1,
    "xdg_system_bell_v1": 1,
    "xdg_toplevel_drag_manager_v1": 1,
    "xdg_toplevel_icon_manager_v1": 1,
    "xdg_toplevel_tag_manager_v1": 1,
    "xdg_wm_dialog_v1": 1,
    # wayland-protocols, unstable
    "zwp_idle_inhibit_manager_v1": 1,
    "zwp_input_timestamps_manager_v1": 1,
    "zwp_linux_explicit_synchronization_v1": 2,
    "zwp_pointer_constraints_v1": 1,
    "zwp_pointer_gestures_v1": 3,
    "zwp_primary_selection_device_manager_v1": 1,
    "zwp_relative_pointer_manager_v1": 1,
    "zwp_text_input_manager_v1": 1,
    "zwp_text_input_manager_v2": 1,
    "zwp_text_input_manager_v3": 2,
    "zxdg_decoration_manager_v1": 2,
    "zxdg_exporter_v1": 1,
    "zxdg_exporter_v2": 1,
    "zxdg_importer_v1": 1,
    "zxdg_importer_v2": 1,
    "zxdg_output_manager_v1": 3,
    "zxdg_shell_v6": 1,
    # of one compositor, about windows of one's own
    "frog_color_management_factory_v1": 1,
    "gtk_shell1": 6,
    "org_kde_kwin_blur_manager": 1,
    "org_kde_kwin_contrast_manager": 2,
    "org_kde_kwin_server_decoration_manager": 1,
    "org_kde_kwin_server_decoration_palette_manager": 1,
    "org_kde_kwin_shadow_manager": 2,
    "org_kde_kwin_slide_manager": 1,
    "xx_color_manager_v4": 1,
}

# Reads the screen or other windows, makes input for them, takes the screen, starts programs or lets others do so: a
# contained app must not reach any of these, nor another version of one.
FORBIDDEN = frozenset(
    {
        "zwlr_screencopy_manager_v1",
        "ext_image_copy_capture_manager_v1",
        "ext_image_capture_source_manager_v1",
        "ext_output_image_capture_source_manager_v1",
        "ext_foreign_toplevel_image_capture_source_manager_v1",
        "zwlr_export_dmabuf_manager_v1",
        "hyprland_toplevel_export_manager_v1",
        "zkde_screencast_unstable_v1",
        "org_kde_kwin_screenshot",
        "org_kde_kwin_remote_access_manager",
        "weston_capture_v1",
        "weston_screenshooter",
        "weston_debug_v1",
        "zcosmic_screencopy_manager_v1",
        "zcosmic_screencopy_manager_v2",
        "zcosmic_workspace_image_capture_source_manager_v1",
        "treeland_capture_manager_v1",
        "phosh_private",  # thumbnails of windows, keys
        "jay_compositor",  # screen, input devices, programs
        "zriver_control_v1",  # starts programs
        "wp_drm_lease_device_v1",  # a descriptor that sets the screen's mode
        "zwp_virtual_keyboard_manager_v1",
        "zwlr_virtual_pointer_manager_v1",
        "org_kde_kwin_fake_input",
        "org_kde_kwin_keystate",  # state of keys without focus
        "zwp_input_method_manager_v2",
        "zwp_input_method_v1",
        "zwp_input_panel_v1",
        "zwlr_input_inhibit_manager_v1",
        "ext_session_lock_manager_v1",
        "ext_transient_seat_manager_v1",
        "hyprland_global_shortcuts_manager_v1",
        "zcosmic_a11y_manager_v1",
        "cosmic_a11y_manager_v1",  # keys of all windows
    }
)
# Whole families of one compositor's, of which the next has another name.
_FORBIDDEN_FAMILIES = ("jay_", "zcosmic_screencopy", "treeland_capture", "treeland_virtual", "treeland_output_color")
_VERSION = re.compile(r"(_unstable)?(_v\d+)?$")
_UNFIT = re.compile(r"[^a-z0-9_]")
_NAME_CHARS_MAX = 96


def _stem(interface: str) -> str:
    return _VERSION.sub("", interface)


_FORBIDDEN_STEMS = frozenset(map(_stem, FORBIDDEN))


def is_forbidden(interface: str) -> bool:
    """Tell whether an interface, or one that it is another version of, gives the screen, others' windows or input."""
    return _stem(interface) in _FORBIDDEN_STEMS or interface.startswith(_FORBIDDEN_FAMILIES)


def forbidden(untrusted_offered: Iterable[str]) -> list[str]:
    """Give what of a registry no contained app must reach, sorted and fit to be shown."""
    return sorted(_shown(name) for name in untrusted_offered if is_forbidden(name))


def beyond_windows(untrusted_offered: Mapping[str, int]) -> list[str]:
    """Give what of a registry is not known to be harmless, sorted and fit to be shown.

    `untrusted_offered` are versions by interface; a version that is too new is given as NAME@VERSION.
    """
    found = []
    for name, version in untrusted_offered.items():
        known = HARMLESS.get(name)
        if known is None:
            found.append(_shown(name))
        elif version > known:
            found.append(f"{_shown(name)}@{version}")
    return sorted(found)


def _shown(untrusted_name: str) -> str:
    """Give a name as isod takes it: whatever a compositor calls an interface, it must not go untold."""
    return _UNFIT.sub("_", untrusted_name)[:_NAME_CHARS_MAX] or "_"
