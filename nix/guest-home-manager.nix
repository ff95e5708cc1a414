# Inside, with Home Manager: the shared configuration, evaluated with the container's own packages.
{ config, lib, ... }:
let
  cfg = config.isod.guest;
in
{
  options.isod.guest.home = lib.mkOption {
    type = lib.types.deferredModule;
    description = "The user's Home Manager configuration.";
  };
  config = {
    home-manager = {
      useGlobalPkgs = lib.mkDefault true;
      # Else the first start builds a profile, through the host's daemon.
      useUserPackages = lib.mkDefault true;
      # The configuration is one user's; others who may use the container have an account only.
      users = lib.mapAttrs (_: _: {
        imports = [ cfg.home ];
        home.stateVersion = lib.mkDefault config.system.stateVersion;
      }) (lib.filterAttrs (user: _: user == cfg.host.betterContainers.base.userName) cfg.users);
    };
  };
}
