# betterContainers: what the user writes. generate.nix makes containers of it, safety.nix and exposure.nix judge it.
{
  config,
  lib,
  ...
}:
let
  inherit (lib) mkOption types;
  cfg = config.betterContainers;
  policy = import ./policy-options.nix { inherit lib; };
  rules = import ./rules.nix { inherit lib; };

  # A module, or a list of them. A list of `raw`, since a list of modules can't be coerced; and not `either`, which
  # could not join a module of one file with a list of another.
  modules =
    types.coercedTo (types.listOf types.raw) (imports: { inherit imports; }) types.deferredModule
    // {
      description = "module, or list of modules";
    };
  command =
    types.coercedTo types.str (word: [ word ]) (types.listOf types.str)
    // {
      description = "string, or list of strings";
    };
  exposures = types.listOf (
    types.enum [
      "gpu"
      "nix-daemon"
      "root"
      "shared-network"
      "wayland-raw"
      "x11-host"
    ]
  );

  share = types.submodule (
    { name, ... }:
    {
      options = {
        mountPoint = mkOption {
          type = types.str;
          default = name;
          defaultText = lib.literalMD "the same path as on the host";
          description = "Where it appears in the container.";
        };
        readOnly = mkOption {
          type = types.bool;
          default = true;
          description = ''
            Whether the container can only read it. What it can write it can also plant hooks in: never share a git
            repository writable whose `.git` the host uses.
          '';
        };
      };
    }
  );

  container = types.submodule (
    { name, ... }:
    {
      options = {
        config = mkOption {
          type = modules;
          default = { };
          example = lib.literalExpression "with isoctl.lib.traits; [ baseDev jvmDev ]";
          description = "What is in it: a NixOS module, or a list of modules, traits and templates. `base.config` is added.";
        };
        desktopRunner = mkOption {
          type = types.nullOr command;
          default = null;
          example = "enter-fhs";
          description = ''
            Put before every command of the container, as in `enter-fhs -- COMMAND`; `enter-fhs` comes with `withFhs`.
            A string stands for itself and `--`; a list is taken as it is.
          '';
        };
        users = mkOption {
          type = types.listOf types.str;
          default = [ cfg.base.userName ];
          defaultText = lib.literalExpression "[ config.betterContainers.base.userName ]";
          description = "Users of the host who may use it; each has an account of the same name and uid inside.";
        };
        inherit (policy) grants;
        shares = mkOption {
          type = types.attrsOf share;
          default = { };
          example = lib.literalExpression ''{ "/home/alice/src/blog".readOnly = false; }'';
          description = ''
            Directories of the host that it sees, by path. They must exist whenever it starts: nspawn knows no optional
            bind.
          '';
        };
        network = mkOption {
          type = types.enum [ "none" "private" "host" ];
          default = "private";
          description = ''
            none: loopback only. private: an address of its own, with the host as router; its servers are reached at
            `${name}.containers`. host: the host's own interfaces, its abstract sockets and all that listens on
            127.0.0.1.
          '';
        };
        subnet = mkOption {
          type = types.ints.between 1 254;
          default = rules.subnetOf name;
          defaultText = lib.literalMD "from a hash of the name";
          description = "N of 10.233.N.1 (host) and 10.233.N.2 (container) with `network = \"private\"`.";
        };
        privateUsers = mkOption {
          type = types.either types.ints.u32 (types.enum [ "no" "identity" "pick" ]);
          default = "no";
          example = "pick";
          description = ''
            User namespacing, as in systemd-nspawn(1). With `pick` root inside is nobody on the host. Without it a
            container is no boundary against its own root, which no app has unless you give it. Needs NixOS 25.05.
          '';
        };
        syscallFilter = mkOption {
          type = types.listOf types.str;
          default = [ ];
          example = [ "~@keyring" "~bpf" ];
          description = "More system calls to allow, or with `~` to forbid, over systemd-nspawn's own list.";
        };
        nixDaemon = mkOption {
          type = types.bool;
          default = cfg.homeManager.module != null;
          defaultText = lib.literalMD "true with Home Manager, which needs it";
          description = ''
            Whether the host's Nix daemon can be reached, as in every container of NixOS. It judges by uid: without user
            namespacing the container's user is the host's. With `false` the socket is masked, and
            `nix` inside says that it is off and names this option.
          '';
        };
        hideStore = mkOption {
          type = types.bool;
          default = false;
          description = ''
            Impossible, and refused: a NixOS container runs from the host's /nix/store, which is bound into it whole.
            Every user of the host can read the store too; keep secrets out of it (agenix, sops-nix,
            systemd credentials).
          '';
        };
        idleStop = mkOption {
          type = types.nullOr (types.ints.between 0 31536000);
          default = null;
          example = 1800;
          description = "Seconds without an app after which it is stopped; 0: never.";
        };
        autoStart = mkOption {
          type = types.bool;
          default = false;
          description = "Whether it starts when one of its users logs in. On demand it starts anyway.";
        };
        timeoutStartSec = mkOption {
          type = types.ints.between 1 86400;
          default = 300;
          description = "Seconds for its start. The first one with Home Manager takes longest.";
        };
        graphics = mkOption {
          type = types.bool;
          default = true;
          description = ''
            Whether it has the host's graphics drivers and fonts. Drivers must be the host's: they have to fit its
            kernel. Access to the device is another matter, see `grants.gpu`.
          '';
        };
        sharePkgs = mkOption {
          type = types.bool;
          default = true;
          description = ''
            Whether it is evaluated with the host's `pkgs`, overlays included, which is faster. Turn it off to set
            `nixpkgs.config` or overlays inside.
          '';
        };
        gcRoots = mkOption {
          type = types.listOf types.package;
          default = [ ];
          description = "Packages that are kept with the system though nothing installs them.";
        };
        keepInstalled = mkOption {
          type = types.bool;
          default = true;
          description = ''
            Whether `nix profile install` inside keeps its profile where the host's garbage collector sees it. It
            matters with `nixDaemon` only. See "Garbage collection" in the manual.
          '';
        };
        acceptedExposures = mkOption {
          type = exposures;
          default = [ ];
          description = "Exposures that are meant; the warnings about them are not shown.";
        };
      };
    }
  );
in
{
  options.betterContainers = {
    enable = mkOption {
      type = types.bool;
      default = cfg.containers != { };
      defaultText = lib.literalExpression "config.betterContainers.containers != { }";
      description = "Whether to make the environments of `betterContainers.containers`; turns on `services.isod`.";
    };
    base = {
      userName = mkOption {
        type = types.str;
        example = "alice";
        description = "The user of the host who works in the environments. Its `uid` must be set.";
      };
      desktopLauncher = mkOption {
        type = types.nullOr command;
        default = null;
        example = [ "wofi" "--show" "drun" ];
        description = ''
          Command inside that shows a menu of applications, for `isoctl menu` and `NAME-launcher`. By default the host's
          launcher shows those of the container.
        '';
      };
      config = mkOption {
        type = modules;
        default = { };
        description = "A NixOS module, or a list of them, for every environment.";
      };
      acceptedExposures = mkOption {
        type = exposures;
        default = [ ];
        description = "Exposures that are meant in every environment.";
      };
    };
    containers = mkOption {
      type = types.attrsOf container;
      default = { };
      description = "The environments, by name: letters, digits, `-` and `.`.";
    };
    homeManager = {
      module = mkOption {
        type = types.nullOr types.raw;
        default = null;
        example = lib.literalExpression "inputs.home-manager.nixosModules.home-manager";
        description = "Home Manager's NixOS module, for the environments. Without it they have no Home Manager.";
      };
      home = mkOption {
        type = types.nullOr modules;
        default = null;
        example = lib.literalExpression "./home.nix";
        description = "The user's Home Manager configuration in every environment and on the host.";
      };
      homeHost = mkOption {
        type = types.nullOr modules;
        default = null;
        example = lib.literalExpression "./home-host.nix";
        description = "What only the host has: identities, keys, hosts of ssh. Needs Home Manager's module on the host.";
      };
    };
  };
}
