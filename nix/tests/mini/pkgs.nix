# Packages of the stand-in: attribute sets with a store path, and builders that keep what they were given.
lib:
let
  storePath = name: seed: "/nix/store/${builtins.substring 0 32 (builtins.hashString "sha256" "${name} ${seed}")}-${name}";

  package =
    name: extra:
    {
      type = "derivation";
      inherit name;
      pname = name;
      version = "1";
      outPath = storePath name (extra.seed or "");
      drvPath = storePath "${name}.drv" (extra.seed or "");
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
    "bash"
    "bubblewrap"
    "cargo"
    "clippy"
    "coreutils"
    "curl"
    "dejavu_fonts"
    "delve"
    "direnv"
    "fd"
    "file"
    "firefox"
    "foot"
    "gcc"
    "git"
    "gnumake"
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
    "maven"
    "mesa"
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
      path = ./.;
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
        hostPlatform.system = "x86_64-linux";
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
