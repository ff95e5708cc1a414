# For configurations without flakes: `isoctl = import ./isoctl;` has the flake's module and lib under the same names.
{
  # A path: imported twice it counts once.
  nixosModules.default = ./nix/module.nix;
  lib = import ./nix/lib.nix;
  # package pkgs
  package = pkgs: pkgs.callPackage ./nix/package.nix { };
}
