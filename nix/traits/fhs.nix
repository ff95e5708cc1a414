# `enter-fhs`: /bin, /lib and /usr as other distributions have them, with all packages of the environment in them.
{
  config,
  lib,
  options,
  pkgs,
  ...
}:
let
  # What is asked for elsewhere: with the whole value enter-fhs would contain itself.
  system = lib.concatMap (definition: definition.value) (
    lib.filter (
      definition: definition.file != toString ./fhs.nix
    ) options.environment.systemPackages.definitionsWithLocations
  );
  # With home-manager.useUserPackages Home Manager's are here.
  users = lib.concatMap (user: user.packages) (lib.attrValues config.users.users);

  # `enter-fhs`: a shell. `enter-fhs -- COMMAND ARGUMENTS`: as they are. `enter-fhs -c TEXT`: bash's own.
  run = pkgs.writeShellScript "enter-fhs-run" ''
    if [ "''${1-}" = -- ]; then
      shift
      exec "$@"
    fi
    exec bash "$@"
  '';
in
{
  options.isod.fhs.extraPackages = lib.mkOption {
    type = lib.types.listOf lib.types.package;
    default = [ ];
    description = "Packages that only the classic file system has, as libraries of prebuilt programs.";
  };
  config.environment.systemPackages = [
    (pkgs.buildFHSEnv {
      name = "enter-fhs";
      targetPkgs = _: lib.unique (system ++ users ++ config.isod.fhs.extraPackages);
      runScript = run;
      # No /proc of its own can be mounted in a container; this is nixpkgs' default only since 23.11.
      unsharePid = false;
    })
  ];
}
