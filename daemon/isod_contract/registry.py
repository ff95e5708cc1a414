"""What a Wayland registry may hold beyond what a client needs to show windows of its own and get input for them."""

# Reads the screen or other windows, or makes input for them: a contained app must not reach any of these.
FORBIDDEN = frozenset(
    {
        "zwlr_screencopy_manager_v1",
        "ext_image_copy_capture_manager_v1",
        "ext_output_image_capture_source_manager_v1",
        "ext_foreign_toplevel_image_capture_source_manager_v1",
        "zwlr_export_dmabuf_manager_v1",
        "hyprland_toplevel_export_manager_v1",
        "zkde_screencast_unstable_v1",
        "org_kde_kwin_screenshot",
        "weston_capture_v1",
        "weston_screenshooter",
        "zwp_virtual_keyboard_manager_v1",
        "zwlr_virtual_pointer_manager_v1",
        "org_kde_kwin_fake_input",
        "zwp_input_method_manager_v2",
        "zwp_input_method_v1",
        "zwp_input_panel_v1",
        "ext_session_lock_manager_v1",
        "ext_transient_seat_manager_v1",
        "hyprland_global_shortcuts_manager_v1",
    }
)
# Less than that, but more than an app needs: told to the user by `isoctl status`.
NOTABLE = frozenset(
    {
        "zwlr_data_control_manager_v1",
        "ext_data_control_manager_v1",
        "zwlr_layer_shell_v1",
        "ext_foreign_toplevel_list_v1",
        "zwlr_foreign_toplevel_manager_v1",
        "org_kde_plasma_window_management",
        "org_kde_plasma_shell",
        "zwlr_gamma_control_manager_v1",
        "zwlr_output_manager_v1",
        "zwlr_output_power_manager_v1",
        "zwp_keyboard_shortcuts_inhibit_manager_v1",
        "kde_output_management_v2",
        "wp_security_context_manager_v1",
    }
)
