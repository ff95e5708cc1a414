# From betterContainers to what NixOS and isod take: containers.NAME, policy, launchers, the container's unit.
{
  config,
  lib,
  options,
  pkgs,
  ...
}:
let
  cfg = config.betterContainers;
  rules = import ./rules.nix { inherit lib; };
  inherit (rules) isShifted;
  supports = rules.supports options;
  resolver = rules.resolverOf config;

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

  # Older releases always copy it; then the container's own resolvconf writes over it (container.nix).
  copyResolvConf = value: lib.optionalAttrs (supports "copyResolvConf") { copyResolvConf = value; };
  networkOf = container: {
    none = {
      privateNetwork = true;
    }
    // copyResolvConf false;
    private = {
      privateNetwork = true;
      hostAddress = "10.233.${toString container.subnet}.1";
      localAddress = "10.233.${toString container.subnet}.2";
    }
    // copyResolvConf (!resolver.isLocal);
    host.privateNetwork = false;
  }.${container.network};

  containerOf =
    name: container:
    networkOf container
    // lib.optionalAttrs (container.privateUsers != "no" && supports "privateUsers") { inherit (container) privateUsers; }
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
            inherit name;
            mountPoints = lib.mapAttrsToList (_: share: share.mountPoint) container.shares;
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
  privateAddresses = lib.mapAttrsToList (_: container: "10.233.${toString container.subnet}.2") privateOnes;
  # Whose resolv.conf is a copy of the host's, which may change; resolved's has an address that stays.
  copies = lib.attrNames (
    lib.filterAttrs (
      _: container:
      !config.services.resolved.enable
      && (container.network == "host" || (container.network == "private" && !resolver.isLocal))
    ) cfg.containers
  );
in
{
  config = lib.mkIf cfg.enable {
    services.isod.enable = lib.mkDefault true;
    services.isod.containers = lib.mapAttrs (_: policyOf) cfg.containers;
    containers = lib.mapAttrs containerOf cfg.containers;
    environment.systemPackages = map launcherOf names ++ map desktopEntryOf names;

    networking.nat = lib.mkIf (privateOnes != { }) {
      enable = lib.mkDefault true;
      internalIPs = map (address: "${address}/32") privateAddresses;
      # docker sets the policy of FORWARD to DROP. A chain of our own, since both are started in any order.
      extraCommands = lib.mkIf (!config.networking.nftables.enable) (
        "iptables -w -N isod-forward\n"
        + lib.concatMapStrings (address: ''
          iptables -w -A isod-forward -s ${address} -j ACCEPT
          iptables -w -A isod-forward -d ${address} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
        '') privateAddresses
        + "iptables -w -I FORWARD -j isod-forward\n"
      );
      extraStopCommands = lib.mkIf (!config.networking.nftables.enable) ''
        iptables -w -D FORWARD -j isod-forward 2> /dev/null || true
        iptables -w -F isod-forward 2> /dev/null || true
        iptables -w -X isod-forward 2> /dev/null || true
      '';
    };
    # For networking.firewall.filterForward; answers are let through there anyway.
    networking.firewall.extraForwardRules = lib.mkIf (privateOnes != { }) (
      lib.concatMapStrings (address: "ip saddr ${address} accept\n") privateAddresses
    );
    # It takes each link that it finds, and the addresses with it.
    networking.networkmanager.unmanaged = lib.mkIf (privateOnes != { }) [ "interface-name:ve-*" ];

    # NixOS binds it into every container, and a host without a daemon has none: then none would start.
    systemd.tmpfiles.rules = lib.mkIf (cfg.containers != { }) [ "d /nix/var/nix/daemon-socket 0755 root root -" ];

    systemd.paths.isod-resolv-conf = lib.mkIf (copies != [ ]) {
      description = "Follow the host's resolv.conf for containers that have a copy";
      wantedBy = [ "multi-user.target" ];
      pathConfig.PathChanged = "/etc/resolv.conf";
    };

    systemd.services = lib.optionalAttrs (copies != [ ]) {
      isod-resolv-conf = {
        description = "Copy the host's resolv.conf into containers that run";
        path = [ config.systemd.package ];
        serviceConfig = {
          Type = "oneshot";
          TimeoutStartSec = "30s";
          TimeoutStopSec = "5s";
        };
        # By a program of the container's own, so that nothing there leads out of it: machined, which all containers
        # share, would have a process of its own wait there for ever. It gets the text and no descriptor of the host's.
        # To ask for it, a child of systemd-run is led into the container and connects to the bus there. Where root inside
        # has that answered by a file system of theirs, the child stays, even killed, until the container stops: one for
        # each change of the file, in this unit alone. Each by itself, so that one that does not answer keeps no other
        # waiting.
        script = ''
          text=$(cat /etc/resolv.conf)
          for name in ${lib.escapeShellArgs copies}; do
            if machinectl show "$name" > /dev/null 2>&1; then
              if ! timeout -k 1 10 systemd-run --machine="$name" --quiet --collect --wait --expand-environment=no \
                --unit=isod-resolv-conf --property=RuntimeMaxSec=8 -- /bin/sh -c 'printf "%s\n" "$1" > /etc/resolv.conf' sh "$text"
              then
                echo "$name: its /etc/resolv.conf was not written; 'isoctl doctor $name' tells if it is old" >&2
              fi &
            fi
          done
          wait
        '';
      };
    }
    // lib.mapAttrs' (
      name: container:
      lib.nameValuePair "container@${name}" {
        # As NixOS does for bindMounts.
        unitConfig.RequiresMountsFor = lib.attrNames container.shares;
      }
    ) (lib.filterAttrs (_: container: isShifted container.privateUsers && container.shares != { }) cfg.containers);
  };
}
