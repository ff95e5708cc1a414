{
  description = "Run applications in isolated systemd-nspawn containers as easily as on the host";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";

  outputs =
    { self, nixpkgs }:
    let
      isoctl = import ./default.nix;
      forEach =
        make:
        nixpkgs.lib.genAttrs [
          "x86_64-linux"
          "aarch64-linux"
        ] (system: make nixpkgs.legacyPackages.${system});
    in
    {
      inherit (isoctl) nixosModules lib;
      overlays.default = final: _: { isoctl = isoctl.package final; };
      packages = forEach (pkgs: {
        default = isoctl.package pkgs;
      });
      checks = forEach (pkgs: {
        package = isoctl.package pkgs;
        vm = import ./nix/tests/vm.nix { inherit pkgs; };
      });
      formatter = forEach (pkgs: pkgs.nixfmt-tree or pkgs.nixfmt-rfc-style);
      templates.default = {
        path = ./nix/examples;
        description = "Environments for development, with the host's desktop and Home Manager";
      };
    };
}
