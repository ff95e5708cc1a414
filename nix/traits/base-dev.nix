# What every development environment wants.
{ pkgs, ... }:
{
  environment.systemPackages = with pkgs; [
    curl
    fd
    file
    git
    gnumake
    jq
    less
    ripgrep
    tree
    unzip
    zip
  ];
}
