# Evaluate modules as a NixOS system would, with only the options that nix/ and the examples touch declared.
#
# Names, types and defaults are those of nixpkgs 26.11pre (00ef614e), read in the files that each group names.
{
  lib,
  pkgs,
  modules,
  prefix ? [ ],
  specialArgs ? { },
  release ? "26.11",
}:
let
  inherit (lib) mkOption types;
  option = type: default: mkOption { inherit type default; };
  required = type: mkOption { inherit type; };
  texts = types.listOf types.str;
  packages = types.listOf types.package;

  # Lists of several definitions are joined, anything else must be equal.
  setting = lib.mkOptionType {
    name = "systemd option";
    merge =
      _: definitions:
      let
        values = map (definition: definition.value) definitions;
      in
      if builtins.all builtins.isList values then
        lib.concatLists values
      else if builtins.all (value: value == builtins.head values) values then
        builtins.head values
      else
        throw "conflicting settings of a unit: ${builtins.toJSON values}";
  };

  unit = types.submodule {
    # nixos/lib/systemd-unit-options.nix
    options = {
      description = option types.str "";
      enable = option types.bool true;
      overrideStrategy = option (types.enum [ "asDropinIfExists" "asDropin" ]) "asDropinIfExists";
      wantedBy = option texts [ ];
      requiredBy = option texts [ ];
      requires = option texts [ ];
      wants = option texts [ ];
      after = option texts [ ];
      before = option texts [ ];
      partOf = option texts [ ];
      unitConfig = option (types.attrsOf setting) { };
      serviceConfig = option (types.attrsOf setting) { };
      socketConfig = option (types.attrsOf setting) { };
      pathConfig = option (types.attrsOf setting) { };
      environment = option (types.attrsOf (types.nullOr (types.oneOf [ types.str types.path types.package ]))) { };
      path = option (types.listOf (types.oneOf [ types.package types.str ])) [ ];
      preStart = option types.lines "";
      postStart = option types.lines "";
      script = option types.lines "";
      restartIfChanged = option types.bool true;
      stopIfChanged = option types.bool true;
      reloadIfChanged = option types.bool false;
      conflicts = option texts [ ];
      restartTriggers = option (types.listOf types.unspecified) [ ];
      reloadTriggers = option (types.listOf types.unspecified) [ ];
      enableStrictShellChecks = option types.bool false;
    };
  };

  user = types.submodule (
    { name, config, ... }:
    {
      # nixos/modules/config/users-groups.nix
      options = {
        name = option types.str name;
        uid = option (types.nullOr types.int) null;
        isNormalUser = option types.bool false;
        isSystemUser = option types.bool false;
        group = option types.str "";
        extraGroups = option texts [ ];
        home = option types.str "/home/${name}";
        createHome = option types.bool false;
        description = option types.str "";
        shell = option (types.nullOr (types.either types.package types.path)) null;
        packages = option packages [ ];
        linger = option (types.nullOr types.bool) false;
      };
      config.group = lib.mkIf config.isNormalUser (lib.mkDefault "users");
    }
  );

  etc = types.submodule (
    { name, config, ... }:
    {
      # nixos/modules/system/etc/etc.nix
      options = {
        enable = option types.bool true;
        target = option types.str name;
        text = option (types.nullOr types.lines) null;
        source = required types.path;
        mode = option types.str "symlink";
        user = option types.str "+0";
        group = option types.str "+0";
      };
      config.source = lib.mkIf (config.text != null) (
        lib.mkDefault (pkgs.writeText "etc-${baseNameOf name}" config.text)
      );
    }
  );

  declarations =
    { config, ... }:
    {
      options = {
        assertions = option (types.listOf types.unspecified) [ ];
        warnings = option texts [ ];
        meta = option types.attrs { };

        users.users = option (types.attrsOf user) { };
        users.groups = option (types.attrsOf (types.submodule ({ name, ... }: {
          options = {
            name = option types.str name;
            gid = option (types.nullOr types.int) null;
            members = option texts [ ];
          };
        }))) { };

        environment = {
          systemPackages = option packages [ ];
          sessionVariables = option (types.attrsOf (types.either types.str types.int)) { };
          variables = option (types.attrsOf (types.either types.str types.int)) { };
          pathsToLink = option texts [ ];
          etc = option (types.attrsOf etc) { };
        };

        # nixos/modules/system/boot/systemd.nix
        systemd = {
          package = option types.package pkgs.systemd;
          packages = option packages [ ];
          services = option (types.attrsOf unit) { };
          sockets = option (types.attrsOf unit) { };
          paths = option (types.attrsOf unit) { };
          targets = option (types.attrsOf unit) { };
          user.services = option (types.attrsOf unit) { };
          tmpfiles.rules = option texts [ ];
          tmpfiles.packages = option packages [ ];
        };

        services.dbus.enable = option types.bool false;
        services.dbus.packages = option (types.listOf types.path) [ ];
        services.resolved.enable = option types.bool false;
        security.polkit.enable = option types.bool false;
        security.polkit.extraConfig = option types.lines "";
        security.sudo.enable = option types.bool true;
        security.rtkit.enable = option types.bool false;

        # nixos/modules/hardware/graphics.nix
        hardware.graphics = {
          enable = option types.bool false;
          enable32Bit = option types.bool false;
          package = option types.package pkgs.mesa;
          package32 = option types.package pkgs.mesa;
          extraPackages = option packages [ ];
          extraPackages32 = option packages [ ];
        };
        fonts.packages = option (types.listOf types.path) [ ];
        fonts.fontconfig.enable = option types.bool true;
        fonts.fontconfig.defaultFonts = lib.genAttrs [ "serif" "sansSerif" "monospace" "emoji" ] (_: option texts [ ]);
        time.timeZone = option (types.nullOr types.str) null;
        i18n.defaultLocale = option types.str "en_US.UTF-8";
        i18n.extraLocaleSettings = option (types.attrsOf types.str) { };

        networking = {
          hostName = option types.str "nixos";
          useDHCP = option types.bool true;
          useHostResolvConf = option types.bool false;
          nameservers = option texts [ ];
          networkmanager.enable = option types.bool false;
          # nixos/modules/services/networking/networkmanager.nix, firewall.nix, nftables.nix, resolvconf.nix
          networkmanager.unmanaged = option texts [ ];
          nftables.enable = option types.bool false;
          firewall.enable = option types.bool true;
          firewall.extraForwardRules = option types.lines "";
          resolvconf.useLocalResolver = option types.bool false;
          nat = {
            enable = option types.bool false;
            internalIPs = option texts [ ];
            externalInterface = option (types.nullOr types.str) null;
            extraCommands = option types.lines "";
            extraStopCommands = option types.lines "";
          };
        };

        nix = {
          enable = option types.bool true;
          package = option types.package pkgs.nix;
          # nixos/modules/config/nix.nix: freeform; root is always among the trusted.
          settings = mkOption {
            type = types.submodule {
              freeformType = types.attrsOf types.anything;
              options.trusted-users = mkOption { type = texts; };
              options.allowed-users = option texts [ "*" ];
              config.trusted-users = [ "root" ];
            };
            default = { };
          };
        };
        nixpkgs = {
          pkgs = option types.raw pkgs;
          hostPlatform = option types.raw null;
          config = option types.attrs { };
        };

        system = {
          stateVersion = option types.str "26.05";
          checks = option packages [ ];
          extraDependencies = option packages [ ];
          build = option (types.lazyAttrsOf types.raw) { };
        };

        programs.java.enable = option types.bool false;
        programs.java.package = option types.package pkgs.jdk;
        programs.git.enable = option types.bool false;
        programs.fish.enable = option types.bool false;
        programs.sway.enable = option types.bool false;
        programs.direnv.enable = option types.bool false;
        # What the real Home Manager looks at (nixos/*.nix, modules/misc of ec1a8fd).
        system.userActivationScripts = option (types.attrsOf types.unspecified) { };
        system.activationScripts = option (types.attrsOf types.unspecified) { };
        i18n.glibcLocales = option types.package pkgs.glibcLocales;
        systemd.user.targets = option (types.attrsOf unit) { };

        virtualisation.memorySize = option types.int 1024;
        virtualisation.cores = option types.int 1;
        virtualisation.diskSize = option types.int 1024;
        virtualisation.useNixStoreImage = option types.bool false;
        virtualisation.writableStore = option types.bool false;
        virtualisation.additionalPaths = option packages [ ];
        boot.loader.systemd-boot.enable = option types.bool false;
        fileSystems = option (types.attrsOf types.attrs) { };
      };

      # nixos/modules/system/activation/top-level.nix: failed assertions are one error, warnings are traced.
      config.system.build.toplevel =
        let
          failed = map (one: one.message) (builtins.filter (one: !one.assertion) config.assertions);
        in
        if failed != [ ] then
          throw "\nFailed assertions:\n${lib.concatMapStringsSep "\n" (message: "- ${message}") failed}"
        else
          builtins.deepSeq config.warnings (
            pkgs.runCommand "nixos-system-${config.networking.hostName}" { } (
              toString (lib.sort (a: b: a < b) (map toString (config.system.extraDependencies ++ config.environment.systemPackages)))
            )
          );
    };
in
lib.evalModules {
  class = "nixos";
  inherit prefix;
  specialArgs = {
    modulesPath = "/modules";
    inherit release;
    _class = "nixos";
    utils.escapeSystemdPath = lib.replaceStrings [ "/" ] [ "-" ];
  } // specialArgs;
  modules = [
    declarations
    ./containers.nix
    { _module.args = { inherit pkgs; }; }
  ] ++ modules;
}
