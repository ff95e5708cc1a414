# services.isod: daemon, helper, session service and policy. programs.isoctl: the client. For containers of any origin.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  inherit (lib) mkOption types;
  cfg = config.services.isod;
  policy = import ./policy-options.nix { inherit lib; };
  inherit (import ./toml.nix { inherit lib; }) toToml;

  # The helper's, one a set of rights.
  sockets = map (lib.removeSuffix ".socket") (
    lib.filter (lib.hasSuffix ".socket") (lib.attrNames (builtins.readDir ../systemd-units))
  );

  # isod believes regular files of root only. With a mode of its own NixOS copies a file, otherwise it is a symlink.
  policyFile = text: {
    inherit text;
    mode = "0644";
    user = "root";
    group = "root";
  };
  files = {
    "isod/isod.toml" = policyFile (toToml cfg.settings);
  }
  // lib.mapAttrs' (
    name: container: lib.nameValuePair "isod/containers/${name}.toml" (policyFile (toToml container))
  ) cfg.containers;

  # The daemon's own loader, run while the system is built: a wrong value stops nixos-rebuild with file and line.
  checked = pkgs.runCommand "isod-policy" { } ''
    mkdir -p $out/containers
    ${lib.concatStrings (
      lib.mapAttrsToList (name: file: ''
        cp ${pkgs.writeText (baseNameOf name) file.text} $out/${lib.escapeShellArg (lib.removePrefix "isod/" name)}
      '') files
    )}
    ${cfg.package}/libexec/isod --check $out
  '';

  # Whom a policy names, in any way.
  named =
    key:
    lib.unique (
      lib.concatMap (container: if container.${key} or null == null then [ ] else container.${key}) (
        lib.attrValues cfg.containers ++ [ cfg.settings.defaults ]
      )
    );
  busPolicy = import ./bus-policy.nix { inherit lib; } {
    users = lib.unique (named "users" ++ named "ask");
    groups = named "groups";
  };
  # In place of the package's own, since the bus has both otherwise.
  bus = pkgs.runCommand "isod-bus" { policy = busPolicy; passAsFile = [ "policy" ]; } ''
    mkdir -p $out/share
    cp -r --no-preserve=mode ${cfg.package}/share/dbus-1 $out/share/
    cp $policyPath $out/share/dbus-1/system.d/org.isoctl1.conf
  '';
in
{
  options = {
    programs.isoctl.enable = mkOption {
      type = types.bool;
      default = cfg.enable;
      defaultText = lib.literalExpression "config.services.isod.enable";
      description = "Whether to install `isoctl`, its completion and its manual for all users.";
    };

    services.isod = {
      enable = lib.mkEnableOption "isod, which runs apps in the containers of this host for its users";
      package = mkOption {
        type = types.package;
        default = pkgs.callPackage ./package.nix { };
        defaultText = lib.literalExpression "pkgs.callPackage ./package.nix { }";
        description = "The package with isod, isod-session, isod-helper and isoctl.";
      };
      xwayland = mkOption {
        type = types.listOf types.package;
        default = [
          pkgs.xwayland-satellite
          pkgs.xwayland
        ];
        defaultText = lib.literalExpression "[ pkgs.xwayland-satellite pkgs.xwayland ]";
        description = ''
          X servers for `x11 = "isolated"`, found by each user's isod-session. With xwayland-satellite X programs have
          windows and the clipboard of the desktop; the list may be empty.
        '';
      };
      onlyNamed = mkOption {
        type = types.bool;
        default = false;
        description = ''
          Whether the system bus refuses calls to isod of all but root and those whom policy names in `users`, `groups`
          or `ask`. isod refuses them anyway; so they can't flood it either.
        '';
      };
      containers = mkOption {
        type = types.attrsOf (types.submodule { options = policy.container; });
        default = { };
        example = lib.literalExpression ''{ webserver.users = [ "alice" ]; }'';
        description = ''
          Policy of containers, by name, whoever declared them: `containers.<name>`, `nixos-container create` or
          systemd-nspawn. The keys are those of isod.toml(5). Environments of `betterContainers` have theirs here too.
        '';
      };
      settings = {
        defaults = removeAttrs policy.container [ "unit" ];
        inherit (policy) limits never;
      };
    };
  };

  config = lib.mkMerge [
    (lib.mkIf config.programs.isoctl.enable {
      environment.systemPackages = [ cfg.package ];
      environment.pathsToLink = [ "/share/bash-completion" "/share/zsh" "/share/fish" ];
    })
    (lib.mkIf cfg.enable {
      # polkit reads action files from the system's profile only.
      environment.systemPackages = [ cfg.package ];
      environment.etc = files;
      system.checks = [ checked ];

      services.dbus.packages = [ (if cfg.onlyNamed then bus else cfg.package) ];
      # Asked only for what policy leaves open; NixOS has it off by default.
      security.polkit.enable = lib.mkDefault true;
      users.groups.isoctl = { };

      # Units, and the drop-in that prepares a container's directory before it starts.
      systemd.packages = [ cfg.package ];
      systemd.tmpfiles.packages = [ cfg.package ];
      systemd.services.isod = {
        # [Install] of a package's unit is not followed.
        wantedBy = [ "multi-user.target" ];
        # Apps outlive a restart; a stop that waits for the rest of the switch would keep users waiting.
        stopIfChanged = false;
        reloadTriggers = [ checked ];
        serviceConfig.ExecReload = "${cfg.package}/bin/isoctl reload";
      };
      systemd.sockets = lib.genAttrs sockets (_: {
        wantedBy = [ "sockets.target" ];
      });
      systemd.user.services.isod-session = {
        path = cfg.xwayland;
        # It holds the display of running apps.
        restartIfChanged = false;
      };
    })
  ];
}
