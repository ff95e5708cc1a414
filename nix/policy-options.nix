# Made by tools/generate_nix.py from the models of isod's policy.
#
# An option that is not set is not written, so that [defaults] of isod.toml and isod's own default hold.
{ lib }:
let
  inherit (lib) types;
  option =
    type: default: description:
    lib.mkOption {
      type = types.nullOr type;
      default = null;
      defaultText = lib.literalMD "not set; isod takes ${default}";
      inherit description;
    };
in
rec {
  # Keys of /etc/isod/containers/NAME.toml.
  container = {
    users = option (types.listOf types.str) "none" "Users of the host who may use the container without a question. They see and start it, run apps in it, and signal, stop and read the logs of their own apps. They stop and restart it while no other user's app runs.";
    groups = option (types.listOf types.str) "none" "Groups of the host whose members may do the same.";
    ask = option (types.listOf types.str) "none" "Users who may see it, and use it after they gave their own password (org.isoctl1.run). polkit remembers that for one process and five minutes, so each isoctl asks anew.";
    user = option types.str "none" "Account inside that apps run as. By default the one with the caller's own name.";
    shared_account = option types.bool "`false`" "Must be true where `user` serves more than one user, since all of them can then read and signal each other's apps.";
    unit = option types.str "none" "The systemd service that is the container; %u stands for the caller's name: one instance a user. By default container@NAME.service if it or /etc/nixos-containers/NAME.conf exists, else systemd-nspawn@NAME.service.";
    login_shell = option types.bool "`true`" "Start apps through the account's login shell, so that its profile applies.";
    wrapper = option (types.listOf types.str) "none" "Command and arguments put before each app's own, which follow as they are.";
    wrapper_shell = option (types.listOf types.str) "none" "Command and arguments put before each app's own, which follow as one string quoted for a shell, as in [\"enter-fhs\", \"-c\"].";
    menu = option (types.listOf types.str) "none" "Command inside that shows a menu of applications. By default the host's launcher shows those of the container.";
    start_timeout_sec = option (types.ints.between 1 86400) "`90`" "Seconds after which a start that is not ready is reported as failed.";
    stop_timeout_sec = option (types.ints.between 1 3600) "`10`" "Seconds that an app has, after it was asked to end, before it is killed.";
    idle_stop_sec = option (types.ints.between 0 31536000) "`0`" "Seconds without an app of ours, a login session inside, and a program that is connected to a display, after which the container is stopped; 0: never. A window of an account's program keeps it running, whatever opened it; so none of those is closed, and nobody is warned. One of root's inside, on that account's display, may be closed.";
    autostart = option types.bool "`false`" "Start the container when one of its users logs in.";
    on_logout = option (types.enum [ "keep" "stop" ]) "`\"keep\"`" "What happens to the container when the last of its users leaves their desktop.";
    environment = option (types.attrsOf types.str) "none" "Variables set in every app, over those of the login profile and the session.";
    hints = option (types.listOf types.str) "none" "More variables of the caller that apps get, as in [\"http_proxy\", \"EDITOR\"]; language, time zone, terminal, scale, and what leads to a display come anyway.";
    unset = option (types.listOf types.str) "none" "Variables that apps do not get from isod, the session, or the login profile, as in [\"QT_QPA_PLATFORM\"]; `isoctl run --env` sets them all the same.";
    inherit grants;
  };

  grants = {
    audio = option (types.enum [ "none" ]) "`\"none\"`" "Sound. This version attaches none, so it takes no other value.";
    devices = option (types.either (types.enum [ "none" ]) (types.listOf types.str)) "`\"none\"`" "Other character devices, by a list of matches. Each is properties as `udevadm info` prints them, with the SUBSYSTEM first, and chooses the devices that have all of them: [\"SUBSYSTEM=hidraw ID_VENDOR_ID=1050\", \"SUBSYSTEM=video4linux ID_SERIAL_SHORT=A1B2\"]. They appear under the same path as on the host.";
    gpu = option (types.either (types.enum [ "none" "render" ]) (types.listOf types.str)) "`\"none\"`" "Hardware rendering. render: the render nodes (renderD*) of all graphics processors. A list of PCI addresses such as [\"0000:00:02.0\"]: those of the named ones. NVIDIA's own driver needs its nodes in the list too: /dev/nvidia0, /dev/nvidiactl, /dev/nvidia-uvm, /dev/nvidia-modeset. Nodes that set the display mode are never granted. Programs inside need the host's userspace drivers: /run/opengl-driver on NixOS, Mesa of about the host's age elsewhere.";
    root = option (types.enum [ "none" "ask" "yes" ]) "`\"none\"`" "Commands as root inside (`isoctl run root@NAME`), or as any account other than the caller's. ask: after an administrator's password, each time. yes: without a question. Root in a container without user namespacing is not confined by it.";
    wayland = option (types.enum [ "none" "secured" "raw" ]) "`\"secured\"`" "Windows on the user's Wayland compositor. secured: the app can neither read the screen or other windows nor inject input. That takes the compositor's security context, or a compositor that offers no such interface; without either there is no display. raw: the compositor's own socket, whatever it offers.";
    x11 = option (types.enum [ "none" "isolated" "host" ]) "`\"isolated\"`" "X11 clients. isolated: an X server for this container alone. It starts with the first client and shows its windows on the user's compositor. There is none where wayland is none, or where the host has no Xwayland. host: the user's own X server, on which every client can read the screen and the keyboard of all others. One without a cookie (Xwayland of wlroots) lets in apps of the user's own uid alone, so none from a container with a user namespace. One with a cookie can be used, until the user's next login, by whoever read the cookie and reaches that server.";
  };

  # What isod grants where nothing says otherwise.
  grantDefaults = {
    audio = "none";
    devices = "none";
    gpu = "none";
    root = "none";
    wayland = "secured";
    x11 = "isolated";
  };

  # Levels from the least to the most.
  grantLevels = {
    audio = [ "none" ];
    devices = [ "none" "listed" ];
    gpu = [ "none" "render" ];
    root = [ "none" "ask" "yes" ];
    wayland = [ "none" "secured" "raw" ];
    x11 = [ "none" "isolated" "host" ];
  };

  # [limits] of isod.toml.
  limits = {
    calls_burst = option (types.ints.between 16 65536) "`2048`" "Calls at once after a time without any, and 1 KiB of lists for each.";
    calls_per_sec = option (types.ints.between 1 10000) "`100`" "Calls in a second in the long run, and of lists 4 KiB for each.";
    calls_open = option (types.ints.between 16 4096) "`512`" "Calls that are not answered yet.";
    launches_starting = option (types.ints.between 1 64) "`16`" "Launches that are being started in one container at once.";
    launches_queued = option (types.ints.between 0 4096) "`256`" "Launches that wait for their turn in one container.";
    apps = option (types.ints.between 1 16384) "`1024`" "Apps that run or wait.";
    subscriptions = option (types.ints.between 1 1024) "`32`" "Subscribers to signals.";
    prompts = option (types.ints.between 1 16) "`4`" "Password prompts that are open.";
    logs = option (types.ints.between 1 256) "`16`" "Logs that are open in one container.";
  };

  # [never] of isod.toml.
  never = {
    devices = option (types.listOf (types.enum [ "listed" ])) "none" "Levels of devices that no container gets.";
    gpu = option (types.listOf (types.enum [ "render" ])) "none" "Levels of gpu that no container gets.";
    root = option (types.listOf (types.enum [ "ask" "yes" ])) "none" "Levels of root that no container gets.";
    wayland = option (types.listOf (types.enum [ "secured" "raw" ])) "none" "Levels of wayland that no container gets.";
    x11 = option (types.listOf (types.enum [ "isolated" "host" ])) "none" "Levels of x11 that no container gets.";
  };
}
