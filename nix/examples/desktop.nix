# The host's desktop: what the environments take over are its drivers, its fonts and its time zone.
{ pkgs, ... }:
{
  programs.sway.enable = true;
  hardware.graphics = {
    enable = true;
    extraPackages = [ pkgs.intel-media-driver ];
  };
  fonts.packages = [ pkgs.noto-fonts ];
  fonts.fontconfig.defaultFonts.monospace = [ "Noto Sans Mono" ];
  time.timeZone = "Europe/Berlin";
  # In sway's configuration:
  #   bindsym $mod+b exec blog-launcher
}
