# What the tests evaluate with: the double, or the lib of a real nixpkgs with the double's options of NixOS, and the
# double's Home Manager or a checkout of the real one.
{
  nixpkgs ? null,
  home ? null,
  # The release of NixOS whose options the double has.
  release ? "26.11",
}:
let
  mini = import ./mini/lib.nix;
  # nixpkgs' own lib, in a checkout of it or by itself.
  lib =
    if nixpkgs == null then
      mini
    else
      import (if builtins.pathExists (nixpkgs + "/lib/default.nix") then nixpkgs + "/lib" else nixpkgs);
  pkgs = import ./mini/pkgs.nix lib;

  isoctl = import ../../default.nix;
  homeManager =
    if home == null then
      ./mini/home-manager.nix
    else
      {
        imports = [ (home + "/nixos") ];
        # Its manual would need all of nixpkgs.
        home-manager.sharedModules = [ { manual.manpages.enable = false; } ];
      };
  system =
    specialArgs: modules:
    import ./mini/nixos.nix {
      inherit
        lib
        pkgs
        modules
        specialArgs
        release
        ;
    };
in
{
  inherit
    lib
    pkgs
    homeManager
    system
    ;
  isoctl = isoctl.lib;
  host = modules: system { } ([ isoctl.nixosModules.default ] ++ modules);
  example = system {
    inherit isoctl;
    home-manager = homeManager;
  } [ ../examples/configuration.nix ];

  # The parts of an evaluated host that tests look at.
  look = import ./look.nix { inherit lib; };
}
