# Home Manager's NixOS module, as far as nix/ touches it (nixos/common.nix and nixos/default.nix of ec1a8fd).
{ config, lib, pkgs, ... }:
let
  inherit (lib) mkOption types;
  cfg = config.home-manager;
in
{
  key = "home-manager";
  options.home-manager = {
    useGlobalPkgs = mkOption { type = types.bool; default = false; };
    useUserPackages = mkOption { type = types.bool; default = false; };
    backupFileExtension = mkOption { type = types.nullOr types.str; default = null; };
    extraSpecialArgs = mkOption { type = types.attrs; default = { }; };
    users = mkOption {
      default = { };
      type = types.attrsOf (types.submoduleWith {
        specialArgs = { inherit pkgs; } // cfg.extraSpecialArgs;
        modules = [
          {
            options = {
              home.stateVersion = mkOption { type = types.str; };
              home.packages = mkOption { type = types.listOf types.package; default = [ ]; };
              home.path = mkOption { type = types.package; };
              home.sessionVariables = mkOption { type = types.attrsOf types.str; default = { }; };
              home.file = mkOption { type = types.attrs; default = { }; };
              programs.git.enable = mkOption { type = types.bool; default = false; };
              programs.git.settings = mkOption { type = types.attrs; default = { }; };
              programs.fish.enable = mkOption { type = types.bool; default = false; };
              programs.bash.enable = mkOption { type = types.bool; default = false; };
              programs.bash.shellAliases = mkOption { type = types.attrsOf types.str; default = { }; };
              programs.direnv.enable = mkOption { type = types.bool; default = false; };
            };
          }
          (
            { config, ... }:
            {
              home.path = pkgs.symlinkJoin {
                name = "home-manager-path";
                paths = config.home.packages;
              };
            }
          )
        ];
      });
    };
  };
  config = {
    users.users = lib.mkIf cfg.useUserPackages (
      lib.mapAttrs (_: user: { packages = [ user.home.path ]; }) cfg.users
    );
    systemd.services = lib.mapAttrs' (
      user: one:
      lib.nameValuePair "home-manager-${user}" {
        description = "Home Manager environment for ${user}";
        wantedBy = [ "multi-user.target" ];
        wants = [ "nix-daemon.socket" ];
        after = [ "nix-daemon.socket" ];
        before = [ "systemd-user-sessions.service" ];
        unitConfig.RequiresMountsFor = config.users.users.${user}.home;
        serviceConfig = {
          User = user;
          Type = "oneshot";
          TimeoutStartSec = "5m";
          ExecStart = "${one.home.path}/activate ${one.home.stateVersion}";
        };
      }
    ) cfg.users;
  };
}
