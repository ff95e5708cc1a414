# Home Manager takes this from nixpkgs; no service of its kind is declared here.
{ lib }:
{
  configure = _: {
    serviceSubmodule = lib.types.attrs;
  };
}
