# From betterContainers to what NixOS and isod take: containers.NAME, policy, launchers, the container's unit.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  cfg = config.betterContainers;
  inherit (import ./rules.nix { inherit lib; }) isShifted;

  # The uid is needed here; the assertion in safety.nix would come too late.
  uidOf =
    user:
    let
      uid = config.users.users.${user}.uid or null;
    in
    if uid == null then
      throw "betterContainers: the uid of users.users.${user} must be set on the host, as in `users.users.${user}.uid = 1000;`, since its account in containers has the same"
    else
      uid;

  # Everyone that policy lets in needs an account inside.
  usersOf =
    name: container:
    let
      asked = config.services.isod.containers.${name}.ask;
    in
    lib.unique (container.users ++ (if asked == null then [ ] else asked));

  # Made by isod-prepare before the container starts; what isod grants while it runs shows up in them. Without them isod
  # mounts both when it needs them.
  staticBinds = name: [
    "--bind-ro=/run/isod/container/${name}/run:/run/isoctl"
    "--bind-ro=/run/isod/container/${name}/dri:/dev/dri"
  ];
  # With user namespaces a bind belongs to nobody unless its owners are mapped, which bindMounts can't say.
  mappedShares = lib.mapAttrsToList (
    path: share: "--bind${lib.optionalString share.readOnly "-ro"}=${path}:${share.mountPoint}:idmap"
  );

  networkOf = container: {
    none = {
      privateNetwork = true;
      copyResolvConf = false;
    };
    private = {
      privateNetwork = true;
      hostAddress = "10.233.${toString container.subnet}.1";
      localAddress = "10.233.${toString container.subnet}.2";
      # resolved's own address is one of the host's loopback.
      copyResolvConf = !config.services.resolved.enable;
    };
    host.privateNetwork = false;
  }.${container.network};

  containerOf =
    name: container:
    networkOf container
    // lib.optionalAttrs (container.privateUsers != "no") { inherit (container) privateUsers; }
    // {
      # isod starts it when a user logs in or asks for it, not the boot.
      autoStart = lib.mkDefault false;
      # A switch must not end what runs in it.
      restartIfChanged = lib.mkDefault false;
      timeoutStartSec = "${toString container.timeoutStartSec}s";
      bindMounts = lib.mkIf (!isShifted container.privateUsers) (
        lib.mapAttrs' (
          path: share:
          lib.nameValuePair share.mountPoint {
            hostPath = path;
            isReadOnly = share.readOnly;
          }
        ) container.shares
      );
      extraFlags =
        staticBinds name
        ++ lib.optionals (isShifted container.privateUsers) (mappedShares container.shares)
        ++ map (filter: "--system-call-filter=${filter}") container.syscallFilter
        ++ lib.optional (!container.nixDaemon) "--inaccessible=/nix/var/nix/daemon-socket";
      # NixOS adds it only together with a private network, and no container with user namespaces boots without it.
      allowedDevices = lib.optional (isShifted container.privateUsers && container.network == "host") {
        node = "/dev/net/tun";
        modifier = "rwm";
      };
      config.imports = [
        ./container.nix
        cfg.base.config
        container.config
        {
          isod.guest = {
            host = config;
            users = lib.genAttrs (usersOf name container) uidOf;
            inherit (container)
              gcRoots
              graphics
              keepInstalled
              network
              nixDaemon
              ;
          };
        }
      ]
      ++ lib.optional container.sharePkgs { nixpkgs.pkgs = lib.mkDefault pkgs; }
      ++ lib.optionals (cfg.homeManager.module != null) [
        cfg.homeManager.module
        ./guest-home-manager.nix
        { isod.guest.home = if cfg.homeManager.home == null then { } else cfg.homeManager.home; }
      ];
    };

  policyOf = container: {
    users = lib.mkDefault container.users;
    # Not before the unit itself gives up.
    start_timeout_sec = lib.mkDefault (lib.min 86400 (container.timeoutStartSec + 10));
    idle_stop_sec = lib.mkDefault container.idleStop;
    autostart = lib.mkDefault container.autoStart;
    menu = lib.mkDefault cfg.base.desktopLauncher;
    wrapper = lib.mkDefault (
      if container.desktopRunner != null && lib.length container.desktopRunner == 1 then
        container.desktopRunner ++ [ "--" ]
      else
        container.desktopRunner
    );
    grants = lib.mapAttrs (_: lib.mkDefault) container.grants;
  };

  launcherOf =
    name:
    pkgs.writeShellScriptBin "${name}-launcher" ''
      # With a command: run it in ${name}. Without: choose an application, from the host's menu or the container's own.
      if [ "$#" -gt 0 ]; then
        exec isoctl run ${name} -- "$@"
      fi
      exec isoctl menu ${name}
    '';
  desktopEntryOf =
    name:
    pkgs.makeDesktopItem {
      name = "isoctl-${name}";
      desktopName = "${name} (container)";
      comment = "Applications of the container ${name}";
      exec = "${name}-launcher";
      icon = "utilities-terminal";
      categories = [ "System" ];
    };
  names = lib.attrNames cfg.containers;
  privateOnes = lib.filterAttrs (_: container: container.network == "private") cfg.containers;
in
{
  config = lib.mkIf cfg.enable {
    services.isod.enable = lib.mkDefault true;
    services.isod.containers = lib.mapAttrs (_: policyOf) cfg.containers;
    containers = lib.mapAttrs containerOf cfg.containers;
    environment.systemPackages = map launcherOf names ++ map desktopEntryOf names;

    networking.nat = lib.mkIf (privateOnes != { }) {
      enable = lib.mkDefault true;
      internalIPs = lib.mapAttrsToList (_: container: "10.233.${toString container.subnet}.2/32") privateOnes;
    };

    systemd.services = lib.mapAttrs' (
      name: container:
      lib.nameValuePair "container@${name}" {
        # As NixOS does for bindMounts.
        unitConfig.RequiresMountsFor = lib.attrNames container.shares;
      }
    ) (lib.filterAttrs (_: container: isShifted container.privateUsers && container.shares != { }) cfg.containers);
  };
}
