# For configurations without flakes: `isoctl = import ./isoctl;`, then isoctl.module and isoctl.lib.
{
  module = ./nix/module.nix;
  lib = import ./nix/lib.nix;
  # package pkgs
  package = pkgs: pkgs.callPackage ./nix/package.nix { };
}
