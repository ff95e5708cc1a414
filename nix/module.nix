# The NixOS module: the daemon and its client (isod.nix), and environments that are containers (better-containers.nix).
{
  key = "isoctl/nix/module.nix";
  imports = [
    ./isod.nix
    ./better-containers.nix
    ./generate.nix
    ./home-manager.nix
    ./safety.nix
    ./exposure.nix
  ];
}
