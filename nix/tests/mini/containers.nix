# The option `containers` and what NixOS makes of it: a nested system each, its unit, its start script, its .conf.
#
# Own text, after nixos/modules/virtualisation/nixos-containers.nix of nixpkgs 26.11pre (00ef614e). tests/lab boots it.
{ lib, config, pkgs, options, release, ... }:
let
  inherit (lib) mkOption types optionalString;
  option = type: default: mkOption { inherit type default; };
  texts = types.listOf types.str;
  # The options of a later release do not exist in an earlier one.
  since = first: builtins.compareVersions release first >= 0;
  usersOf = cfg: cfg.privateUsers or "no";

  bind = types.submodule (
    { name, ... }:
    {
      options = {
        mountPoint = option types.str name;
        hostPath = option (types.nullOr types.str) null;
        isReadOnly = option types.bool true;
      };
    }
  );
  device = types.submodule {
    options = {
      node = mkOption { type = types.str; };
      modifier = mkOption { type = types.str; };
    };
  };

  container = types.submodule (
    { name, config, ... }:
    {
      options = {
        config = mkOption {
          type = lib.mkOptionType {
            name = "Toplevel NixOS config";
            merge =
              loc: definitions:
              (import ./nixos.nix {
                inherit lib pkgs release;
                inherit (config) specialArgs;
                prefix = [ "containers" name ];
                modules = [
                  {
                    boot.isNspawnContainer = true;
                    networking.hostName = lib.mkDefault name;
                    networking.useDHCP = false;
                    assertions = [
                      {
                        assertion = !lib.hasInfix "_" name;
                        message =
                          "Names containing underscores are not allowed in nixos-containers. "
                          + "Please rename the container '${name}'";
                      }
                    ];
                  }
                ]
                ++ map (definition: definition.value) definitions;
              }).config;
          };
        };
        path = option types.path config.config.system.build.toplevel;
        nixpkgs = option types.path pkgs.path;
        specialArgs = option (types.attrsOf types.unspecified) { };
        autoStart = option types.bool false;
        restartIfChanged = option types.bool true;
        ephemeral = option types.bool false;
        enableTun = option types.bool false;
        privateNetwork = option types.bool false;
        hostAddress = option (types.nullOr types.str) null;
        localAddress = option (types.nullOr types.str) null;
        hostBridge = option (types.nullOr types.str) null;
        interfaces = option texts [ ];
        macvlans = option texts [ ];
        timeoutStartSec = option types.str "1min";
        bindMounts = option (types.attrsOf bind) { };
        allowedDevices = option (types.listOf device) [ ];
        additionalCapabilities = option texts [ ];
        tmpfs = option texts [ ];
        extraFlags = option texts [ ];
        flake = option (types.nullOr types.str) null;
      }
      // lib.optionalAttrs (since "25.05") {
        privateUsers = option (types.either types.ints.u32 (types.enum [ "no" "identity" "pick" ])) "no";
      }
      // lib.optionalAttrs (since "25.11") {
        copyResolvConf = option types.bool true;
      };
    }
  );

  isShifted = users: users == "pick" || (builtins.isInt users && users > 0);
  tun = {
    node = "/dev/net/tun";
    modifier = "rwm";
  };

  containerInit = pkgs.writeScript "container-init" ''
    #! ${pkgs.runtimeShell} -e
    trap "exit 0" SIGRTMIN+3
    if [[ -n "''${HOST_ADDRESS-}" || -n "''${LOCAL_ADDRESS-}" ]]; then
      ip link set host0 name eth0
      ip link set dev eth0 up
      if [[ -n "''${LOCAL_ADDRESS-}" ]]; then ip addr add "$LOCAL_ADDRESS" dev eth0; fi
      if [[ -n "''${HOST_ADDRESS-}" ]]; then
        ip route add "$HOST_ADDRESS" dev eth0
        ip route add default via "$HOST_ADDRESS"
      fi
    fi
    set +e
    . "$1"
  '';

  # Variables come from NAME.conf and are expanded as NixOS does it: EXTRA_NSPAWN_FLAGS without quotes.
  startScript = cfg: ''
    mkdir -p "$root/usr/bin" "$root/etc" "$root/var/lib" "$root/var/lib/private" "$root/root" /run/nixos-containers
    chmod 0755 "$root/etc" "$root/var/lib"
    chmod 0700 "$root/var/lib/private" "$root/root" /run/nixos-containers
    for name in os-release machine-id; do
      if ! [[ -e "$root/etc/$name" || -h "$root/etc/$name" ]]; then touch "$root/etc/$name"; fi
    done
    for kind in profiles gcroots; do
      mkdir -p "/nix/var/nix/$kind/per-container/$INSTANCE"
      chmod 0755 "/nix/var/nix/$kind/per-container/$INSTANCE"
    done
    if [ "$COPY_RESOLV_CONF" = 1 ]; then
      cp --remove-destination /etc/resolv.conf "$root/etc/resolv.conf"
    fi
    declare -a extraFlags
    if [[ "''${PRIVATE_NETWORK-}" = 1 ]]; then extraFlags+=(--private-network); fi
    idmap=
    if [[ -n "''${PRIVATE_USERS-}" ]]; then
      extraFlags+=("--private-users=$PRIVATE_USERS")
      if [[ "$PRIVATE_USERS" = pick || ( "$PRIVATE_USERS" =~ ^[[:digit:]]+$ && "$PRIVATE_USERS" -gt 0 ) ]]; then
        idmap=:idmap
      fi
    fi
    if [[ -n "''${HOST_ADDRESS-}" || -n "''${LOCAL_ADDRESS-}" ]]; then extraFlags+=(--network-veth); fi
    export SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1
    exec ${config.systemd.package}/bin/systemd-nspawn \
      --keep-unit -M "$INSTANCE" -D "$root" "''${extraFlags[@]}" --notify-ready=yes --kill-signal=SIGRTMIN+3 \
      --bind-ro=/nix/store:/nix/store$idmap \
      --bind-ro=/nix/var/nix/db:/nix/var/nix/db$idmap \
      --bind-ro=/nix/var/nix/daemon-socket:/nix/var/nix/daemon-socket$idmap \
      --bind="/nix/var/nix/profiles/per-container/$INSTANCE:/nix/var/nix/profiles$idmap" \
      --bind="/nix/var/nix/gcroots/per-container/$INSTANCE:/nix/var/nix/gcroots$idmap" \
      ${optionalString (!cfg.ephemeral) "--link-journal=try-guest"} \
      --setenv PRIVATE_NETWORK="''${PRIVATE_NETWORK-}" --setenv PRIVATE_USERS="''${PRIVATE_USERS-}" \
      --setenv HOST_ADDRESS="''${HOST_ADDRESS-}" --setenv LOCAL_ADDRESS="''${LOCAL_ADDRESS-}" \
      --setenv PATH="$PATH" \
      ''${EXTRA_NSPAWN_FLAGS-} \
      ${containerInit} "''${SYSTEM_PATH:-/nix/var/nix/profiles/system}/init"
  '';

  # The host's side of the container's link.
  postStartScript = ''
    if [[ -n "''${HOST_ADDRESS-}" || -n "''${LOCAL_ADDRESS-}" ]]; then
      ip link set dev "ve-$INSTANCE" up
      if [[ -n "''${HOST_ADDRESS-}" ]]; then ip addr add "$HOST_ADDRESS" dev "ve-$INSTANCE"; fi
      if [[ -n "''${LOCAL_ADDRESS-}" ]]; then ip route add "$LOCAL_ADDRESS" dev "ve-$INSTANCE"; fi
    fi
  '';

  unitOf = cfg: {
    description = "Container '%i'";
    unitConfig.RequiresMountsFor =
      [ "/var/lib/nixos-containers/%i" ]
      ++ map (one: if one.hostPath != null then one.hostPath else one.mountPoint) (builtins.attrValues cfg.bindMounts);
    path = [ pkgs.iproute2 config.nix.package ];
    environment = {
      root = "/var/lib/nixos-containers/%i";
      INSTANCE = "%i";
    };
    preStart = ''machinectl terminate "$INSTANCE" 2> /dev/null || true'';
    script = startScript cfg;
    postStart = postStartScript;
    restartIfChanged = cfg.autoStart && cfg.restartIfChanged;
    wantedBy = lib.optional cfg.autoStart "machines.target";
    serviceConfig = {
      SyslogIdentifier = "container %i";
      EnvironmentFile = "-/etc/nixos-containers/%i.conf";
      Type = "notify";
      RestartForceExitStatus = "133";
      SuccessExitStatus = "133";
      TimeoutStartSec = cfg.timeoutStartSec;
      Restart = "on-failure";
      Slice = "machine.slice";
      Delegate = true;
      KillMode = "mixed";
      KillSignal = "TERM";
      DevicePolicy = "closed";
      DeviceAllow = map (one: "${one.node} ${one.modifier}") (
        cfg.allowedDevices ++ lib.optional (cfg.privateNetwork && isShifted (usersOf cfg) && !cfg.enableTun) tun
      );
    };
  };

  bindFlag =
    one:
    " --bind${optionalString one.isReadOnly "-ro"}="
    + (if one.hostPath != null then "${one.hostPath}:${one.mountPoint}" else one.mountPoint);

  confOf = cfg: ''
    SYSTEM_PATH=${cfg.path}
    COPY_RESOLV_CONF=${if cfg.copyResolvConf or true then "1" else "0"}
    ${optionalString cfg.privateNetwork ''
      PRIVATE_NETWORK=1
      ${optionalString (cfg.hostAddress != null) "HOST_ADDRESS=${cfg.hostAddress}"}
      ${optionalString (cfg.localAddress != null) "LOCAL_ADDRESS=${cfg.localAddress}"}
    ''}
    PRIVATE_USERS=${toString (usersOf cfg)}
    ${optionalString cfg.autoStart "AUTO_START=1"}
    EXTRA_NSPAWN_FLAGS="${
      lib.concatMapStrings bindFlag (builtins.attrValues cfg.bindMounts)
      + optionalString (cfg.extraFlags != [ ]) (" " + lib.concatStringsSep " " cfg.extraFlags)
    }"
  '';

  # As the name of an attribute.
  placeOf = package: builtins.unsafeDiscardStringContext "${package}";
  settingText = value: if value == true then "true" else if value == false then "false" else toString value;
  section =
    settings:
    lib.concatStrings (
      lib.concatLists (
        lib.mapAttrsToList (
          name: value: map (one: "${name}=${settingText one}\n") (lib.toList value)
        ) settings
      )
    );
  script = name: text: pkgs.writeShellScriptBin name "set -e\n\n${text}\n";
  service = name: serviceText (lib.replaceStrings [ "@" ] [ "_" ] name);
  # As nixos/lib/systemd-lib.nix writes it: a unit in full, or the drop-in of one that a package brings.
  serviceText =
    name: unit:
    let
      start = script "${name}-start" unit.script;
      preStart = script "${name}-pre-start" unit.preStart;
      postStart = script "${name}-post-start" unit.postStart;
      path = lib.makeBinPath (unit.path ++ [ pkgs.coreutils config.systemd.package ]);
      lists = { Wants = unit.wants; After = unit.after; Requires = unit.requires; Before = unit.before; };
      scripts =
        lib.optional (unit.preStart != "") preStart
        ++ lib.optional (unit.postStart != "") postStart
        ++ lib.optional (unit.script != "") start;
    in
    {
      text =
        "[Unit]\n"
        + optionalString (unit.description != "") "Description=${unit.description}\n"
        + section (
          lib.mapAttrs (_: value: lib.concatStringsSep " " value) (lib.filterAttrs (_: value: value != [ ]) lists)
          // unit.unitConfig
        )
        + "\n[Service]\n"
        + lib.concatStrings (
          lib.mapAttrsToList (key: value: "Environment=${builtins.toJSON "${key}=${value}"}\n") (
            { PATH = path; } // unit.environment
          )
        )
        + optionalString (unit.preStart != "") "ExecStartPre=${preStart}/bin/${name}-pre-start\n"
        + optionalString (unit.script != "") "ExecStart=${start}/bin/${name}-start\n"
        + optionalString (unit.postStart != "") "ExecStartPost=${postStart}/bin/${name}-post-start\n"
        + section unit.serviceConfig;
      scripts = lib.listToAttrs (map (one: lib.nameValuePair "${placeOf one}/bin/${one.name}" one.text) scripts);
    };
in
{
  options = {
    containers = option (types.attrsOf container) { };
    boot.isContainer = option types.bool config.boot.isNspawnContainer;
    boot.isNspawnContainer = option types.bool false;
    boot.enableContainers = option types.bool (config.containers != { });
    # Not of NixOS: what it would write, for the lab.
    rendered = option types.raw { };
  };
  config = lib.mkIf config.boot.enableContainers {
    systemd.services = lib.mapAttrs' (name: cfg: lib.nameValuePair "container@${name}" (unitOf cfg)) config.containers;
    environment.etc = lib.mapAttrs' (
      name: cfg: lib.nameValuePair "nixos-containers/${name}.conf" { text = confOf cfg; }
    ) config.containers;
    rendered = {
      units = lib.mapAttrs (name: unit: (service name unit).text) config.systemd.services;
      files = {
        ${placeOf containerInit} = containerInit.text;
      }
      // lib.concatMapAttrs (name: unit: (service name unit).scripts) config.systemd.services;
    };
  };
}
