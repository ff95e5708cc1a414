# The whole on a virtual machine: needs a network or a binary cache. `nix build .#checks.x86_64-linux.vm`, or
#   nix-build nix/tests/vm.nix --arg homeManager '(fetchTarball "...home-manager...") + "/nixos"'
{
  pkgs ? import <nixpkgs> { },
  homeManager ? null,
}:
let
  isoctl = import ../../default.nix;
  homeManagerScript = pkgs.lib.optionalString (homeManager != null) ''
    with subtest("Home Manager's first activation, and isod's variables over stale ones of the profile"):
        inside = "machinectl -q shell blog /run/current-system/sw/bin/systemctl"
        assert "active" in machine.succeed(f"{inside} is-active home-manager-alice.service")
        machine.succeed(isoctl("run blog hello"))
        assert "stale" not in machine.succeed(isoctl("run blog env"))
        machine.succeed("test -d /nix/var/nix/profiles/per-container/blog/per-user/alice")
  '';
in
pkgs.testers.runNixOSTest {
  name = "isoctl";
  nodes.machine =
    { lib, pkgs, ... }:
    {
      imports = [ isoctl.nixosModules.default ];
      virtualisation.memorySize = 3072;
      virtualisation.cores = 2;

      users.users.alice = {
        isNormalUser = true;
        uid = 1000;
      };
      users.users.mallory = {
        isNormalUser = true;
        uid = 1001;
      };
      programs.sway.enable = true;

      betterContainers = {
        base.userName = "alice";
        homeManager = lib.mkIf (homeManager != null) {
          module = homeManager;
          home = {
            home.sessionVariables.WAYLAND_DISPLAY = "wayland-stale";
            home.packages = [ pkgs.hello ];
          };
        };
        containers.blog.config = [
          isoctl.lib.traits.pythonDev
          { environment.systemPackages = [ pkgs.wayland-utils ]; }
        ];
        containers.shop = {
          config = isoctl.lib.withFhs { environment.systemPackages = [ pkgs.hello ]; };
          desktopRunner = "enter-fhs";
        };
        containers.apart = {
          config = { };
          network = "none";
          privateUsers = "pick";
        };
      };
    };

  testScript = ''
    def isoctl(command, user="alice"):
        return f"su - {user} -c 'XDG_RUNTIME_DIR=/run/user/$(id -u) isoctl {command}'"

    machine.start()
    machine.wait_for_unit("isod.service")
    machine.wait_for_unit("isod-helper.socket")
    machine.succeed("loginctl enable-linger alice", "loginctl enable-linger mallory")

    with subtest("policy files are regular ones of root, which isod takes"):
        machine.succeed("test ! -L /etc/isod/containers/blog.toml")
        assert "blog" in machine.succeed(isoctl("list"))

    with subtest("nobody else gets in"):
        machine.fail(isoctl("run blog true", user="mallory"))
        assert "blog" not in machine.succeed(isoctl("list", user="mallory"))

    with subtest("the container boots, and a command runs in it with its own exit code and streams"):
        machine.fail("systemctl is-active container@blog.service")
        assert machine.succeed(isoctl("run blog id -un")).strip() == "alice"
        assert machine.execute(isoctl("run blog -- sh -c \"exit 7\""))[0] == 7
        assert machine.succeed("seq 3 | " + isoctl("run blog wc -l")).strip() == "3"
        assert machine.succeed(isoctl("run blog -- stat -c %a /run/user/1000")).strip() == "700"

    with subtest("the launcher of the container"):
        machine.succeed("su - alice -c 'blog-launcher true'")

    with subtest("an environment with a classic file system"):
        machine.succeed(isoctl("run shop -- test -x /usr/bin/hello"))

    with subtest("an environment with user namespaces and without a network"):
        machine.succeed(isoctl("run apart true"))
        assert "eth0" not in machine.succeed(isoctl("run apart -- cat /proc/net/dev"))
        assert not machine.succeed(isoctl("run apart -- cat /proc/self/uid_map")).split()[1] == "0"

    with subtest("the Nix daemon's socket is masked"):
        machine.fail(isoctl("run shop -- test -S /nix/var/nix/daemon-socket/socket"))

    ${homeManagerScript}

    with subtest("a window's way in: the container's own Wayland socket"):
        machine.succeed(
            "systemd-run --unit=sway --uid=alice -p PAMName=login "
            "-E WLR_BACKENDS=headless -E WLR_RENDERER=pixman -E WLR_LIBINPUT_NO_DEVICES=1 "
            "-E XDG_RUNTIME_DIR=/run/user/1000 /run/current-system/sw/bin/sway"
        )
        machine.wait_for_file("/run/user/1000/wayland-1")
        shown = machine.wait_until_succeeds(
            "su - alice -c 'XDG_RUNTIME_DIR=/run/user/1000 WAYLAND_DISPLAY=wayland-1 isoctl run blog wayland-info'",
            timeout=60,
        )
        assert "wl_compositor" in shown
        assert "zwlr_screencopy_manager_v1" not in shown
  '';
}
