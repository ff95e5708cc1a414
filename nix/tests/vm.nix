# The whole on a virtual machine: needs a network or a binary cache. `nix build .#checks.x86_64-linux.vm`, or
#   nix-build nix/tests/vm.nix --arg homeManager '(fetchTarball "...home-manager...") + "/nixos"'
{
  pkgs ? import <nixpkgs> { },
  homeManager ? null,
}:
let
  isoctl = import ../../default.nix;
in
pkgs.testers.runNixOSTest {
  name = "isoctl";
  nodes.machine =
    { lib, pkgs, ... }:
    {
      imports = [ isoctl.module ];
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
        return f"su - {user} -c 'XDG_RUNTIME_DIR=/run/user/$(id -u {user}) isoctl {command}'"

    machine.start()
    machine.wait_for_unit("isod.service")
    machine.succeed("loginctl enable-linger alice mallory")

    with subtest("policy files are what isod reads"):
        machine.succeed("test ! -L /etc/isod/containers/blog.toml")
        assert "blog" in machine.succeed(isoctl("list"))
        machine.fail(isoctl("run blog true", user="mallory"))

    with subtest("a command runs, with its own exit code and streams"):
        machine.succeed(isoctl("run blog true"))
        machine.succeed(isoctl("run blog -- sh -c \"exit 7\"") + "; test $? = 7")
        assert "alice" in machine.succeed(isoctl("run blog id -un"))
        assert machine.succeed(isoctl("run blog -- stat -c %a /run/user/1000")).strip() == "700"

    with subtest("an environment with a classic file system"):
        machine.succeed(isoctl("run shop -- test -x /usr/bin/hello"))

    with subtest("an environment apart from the network and from the host's users"):
        machine.succeed(isoctl("run apart true"))
        assert "eth0" not in machine.succeed(isoctl("run apart -- cat /proc/net/dev"))

    with subtest("Home Manager's first activation, and isod's variables over stale ones"):
        if machine.succeed(isoctl("run blog -- systemctl list-units --all home-manager-alice.service")).find("home-manager") >= 0:
            machine.succeed("machinectl shell blog /run/current-system/sw/bin/systemctl is-active home-manager-alice.service")
            assert "stale" not in machine.succeed(isoctl("run blog env"))

    with subtest("a window's way in"):
        machine.succeed(
            "systemd-run --uid=alice -p PAMName=login -E WLR_BACKENDS=headless -E WLR_RENDERER=pixman "
            "-E XDG_RUNTIME_DIR=/run/user/1000 sway"
        )
        machine.wait_for_file("/run/user/1000/wayland-1")
        machine.wait_until_succeeds(
            "su - alice -c 'XDG_RUNTIME_DIR=/run/user/1000 WAYLAND_DISPLAY=wayland-1 isoctl run blog wayland-info'"
        )
  '';
}
