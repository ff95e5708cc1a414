# Go, its language server and its debugger.
{ pkgs, ... }:
{
  environment.systemPackages = with pkgs; [
    delve
    gcc
    go
    gopls
    gotools
  ];
}
