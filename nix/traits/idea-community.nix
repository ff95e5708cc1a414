# The open edition of IntelliJ IDEA, as `idea-community` in every release of nixpkgs.
{ lib, pkgs, ... }:
let
  # Since 26.05 the one edition built from source is called idea-oss.
  idea = pkgs.jetbrains.idea-oss or pkgs.jetbrains.idea-community;
in
{
  environment.systemPackages = [
    idea
  ]
  ++ lib.optional (lib.getExe idea != "${idea}/bin/idea-community") (
    pkgs.writeShellScriptBin "idea-community" ''exec ${lib.getExe idea} "$@"''
  );
}
