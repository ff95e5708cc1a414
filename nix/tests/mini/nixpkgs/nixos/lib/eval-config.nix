# Where NixOS's containers and others look for it.
{
  modules,
  system ? null,
  prefix ? [ ],
  specialArgs ? { },
  lib ? import ../../../lib.nix,
  pkgs ? import ../../../pkgs.nix lib,
}:
import ../../../nixos.nix {
  inherit
    lib
    modules
    pkgs
    prefix
    specialArgs
    ;
}
