# Rust.
{ pkgs, ... }:
{
  environment.systemPackages = with pkgs; [
    cargo
    clippy
    gcc
    pkg-config
    rust-analyzer
    rustc
    rustfmt
  ];
}
