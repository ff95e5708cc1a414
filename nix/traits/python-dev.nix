# Python and its tools.
{ pkgs, ... }:
{
  environment.systemPackages = with pkgs; [
    python3
    ruff
    uv
  ];
}
