# Home Manager, on the host and in every environment.
{ pkgs, ... }:
{
  home.packages = [ pkgs.ripgrep ];
  programs.fish.enable = true;
  programs.direnv.enable = true;
  programs.bash.enable = true;
  programs.bash.shellAliases.gs = "git status";
}
