# The same Home Manager configuration on the host, and what only the host may have.
{
  config,
  lib,
  options,
  ...
}:
let
  cfg = config.betterContainers;
  # A definition of an option that is not declared is an error even below mkIf false.
  isThere = options ? home-manager;
  isUsed = cfg.homeManager.home != null || cfg.homeManager.homeHost != null;
in
{
  config =
    lib.optionalAttrs isThere {
      home-manager = lib.mkIf (cfg.enable && isUsed) {
        useGlobalPkgs = lib.mkDefault true;
        useUserPackages = lib.mkDefault true;
        users.${cfg.base.userName} = {
          imports = lib.filter (module: module != null) [
            cfg.homeManager.home
            cfg.homeManager.homeHost
          ];
          home.stateVersion = lib.mkDefault config.system.stateVersion;
        };
      };
    }
    // {
      assertions = lib.optional cfg.enable {
        assertion = isThere || cfg.homeManager.homeHost == null;
        message = "betterContainers.homeManager.homeHost is set, but this host has no Home Manager: import its NixOS module here too.";
      };
    };
}
