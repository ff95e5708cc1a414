# Packages of the stand-in: attribute sets with a store path, and builders that keep what they were given.
lib:
let
  # Real ones, with their context, which Home Manager looks at; nothing is ever built.
  derive =
    name: seed:
    derivation {
      name = lib.replaceStrings [ "@" ] [ "-" ] name;
      system = "x86_64-linux";
      builder = "none";
      args = [ (builtins.unsafeDiscardStringContext seed) ];
    };

  package =
    name: extra:
    {
      type = "derivation";
      inherit name;
      pname = name;
      version = "1";
      inherit (derive name (extra.seed or "")) outPath drvPath;
      outputName = "out";
      meta.mainProgram = name;
      override = _: package name extra;
      overrideAttrs = _: package name extra;
    }
    // extra;

  # A file in the store, with its text at hand for tests.
  file =
    name: text:
    package name {
      seed = text;
      inherit text;
    };
  command =
    name: text:
    package name {
      seed = text;
      inherit text;
      meta.mainProgram = name;
    };

  names = [
    "babelfish"
    "bash"
    "bash-completion"
    "bashInteractive"
    "bubblewrap"
    "cargo"
    "clippy"
    "coreutils"
    "curl"
    "dejavu_fonts"
    "delve"
    "diffutils"
    "direnv"
    "emptyDirectory"
    "fd"
    "file"
    "findutils"
    "firefox"
    "fish"
    "foot"
    "gcc"
    "gettext"
    "git"
    "glibcLocales"
    "gnugrep"
    "gnumake"
    "gnused"
    "go"
    "gopls"
    "gotools"
    "gradle"
    "hello"
    "intel-media-driver"
    "iproute2"
    "jdk"
    "jq"
    "less"
    "man"
    "maven"
    "mesa"
    "ncurses"
    "nix"
    "nodejs"
    "noto-fonts"
    "pkg-config"
    "pnpm"
    "ripgrep"
    "ruff"
    "rust-analyzer"
    "rustc"
    "rustfmt"
    "sd-switch"
    "shared-mime-info"
    "systemd"
    "thunderbird"
    "tree"
    "unzip"
    "uv"
    "wayland-utils"
    "wget"
    "wl-clipboard"
    "wofi"
    "xwayland"
    "xwayland-satellite"
    "zip"
  ];

  formats = [
    "cdn"
    "elixirConf"
    "gitIni"
    "hcl1"
    "hocon"
    "ini"
    "iniWithGlobalSection"
    "javaProperties"
    "json"
    "keyValue"
    "libconfig"
    "lua"
    "nixConf"
    "php"
    "plist"
    "pythonVars"
    "systemd"
    "toml"
    "xml"
    "yaml"
    "yaml_1_1"
    "yaml_1_2"
  ];

  python = {
    withPackages =
      choose:
      package "python3-env" {
        seed = lib.concatMapStringsSep " " (one: one.name) (choose pythonPackages);
        packages = choose pythonPackages;
      };
  };
  pythonPackages = lib.genAttrs [ "dbus-next" "pydantic" "systemd" "pyudev" "structlog" "jeepney" ] (name: package name { version = "0.2.3"; });

  pkgs =
    lib.genAttrs names (name: package name { })
    // {
      inherit lib pkgs;
      buildPackages = pkgs;
      path = ./nixpkgs;
      system = "x86_64-linux";
      python3 = package "python3" python;
      jetbrains.idea-oss = package "idea-oss" { };
      # As in nixpkgs since 25.11.
      buildFHSUserEnv = throw "'buildFHSUserEnv' has been renamed to/replaced by 'buildFHSEnv'";
      buildFHSEnv =
        arguments:
        package arguments.name {
          inherit arguments;
          # Forced by tests: every package that goes in.
          targets = map (one: one.name) (arguments.targetPkgs pkgs);
        };
      runtimeShell = "${pkgs.bash}/bin/bash";
      stdenv = {
        hostPlatform = {
          system = "x86_64-linux";
          isLinux = true;
          isDarwin = false;
          isx86_64 = true;
          isAarch64 = false;
        };
        isLinux = true;
        isDarwin = false;
        mkDerivation =
          arguments:
          package (arguments.pname or arguments.name) {
            seed = toString (arguments.version or "");
            inherit arguments;
            inherit (arguments) meta;
          };
      };
      stdenvNoCC = pkgs.stdenv;
      writeText = file;
      writeTextFile = { name, text, ... }: file name text;
      writeTextDir = path: text: file (baseNameOf path) text;
      buildEnv =
        { name, paths, ... }:
        package name {
          seed = toString paths;
          inherit paths;
        };
      substituteAll = arguments: file (arguments.name or "substituted") (builtins.toJSON arguments);
      replaceVars = path: arguments: file (baseNameOf path) (builtins.toJSON arguments);
      writeScript = command;
      writeShellScript = name: text: command name "#!${pkgs.runtimeShell}\n${text}";
      writeShellScriptBin = name: text: command name "#!${pkgs.runtimeShell}\n${text}";
      writeShellApplication = { name, text, ... }: command name "#!${pkgs.runtimeShell}\nset -euo pipefail\n${text}";
      runCommand =
        name: environment: text:
        package name {
          seed = text;
          inherit environment text;
        };
      runCommandLocal = pkgs.runCommand;
      runCommandWith = arguments: text: pkgs.runCommand arguments.name { } text;
      makeDesktopItem =
        arguments:
        package "${arguments.name}.desktop" {
          seed = builtins.toJSON arguments;
          inherit arguments;
        };
      symlinkJoin =
        { name, paths, ... }:
        package name {
          seed = toString paths;
          inherit paths;
        };
      callPackage =
        function: extra:
        let
          given = if builtins.isPath function then import function else function;
        in
        given (builtins.intersectAttrs (builtins.functionArgs given) pkgs // extra);
      # Each format takes anything, as far as tests go.
      formats = lib.genAttrs formats (
        _: _: {
          type = lib.types.attrsOf lib.types.anything;
          lib.types.atom = lib.types.anything;
          generate = name: value: file name (builtins.toJSON value);
        }
      );
      testers.runNixOSTest =
        test:
        package "vm-test-run-${test.name}" {
          inherit test;
          nodes = lib.mapAttrs (_: node: import ./nixos.nix { inherit lib pkgs; modules = lib.toList node; }) test.nodes;
        };
      nixosTest = pkgs.testers.runNixOSTest;
      nixfmt-tree = package "nixfmt-tree" { };
    };
in
pkgs
