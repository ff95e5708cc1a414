# Java and what builds it.
{ pkgs, ... }:
{
  programs.java.enable = true;
  environment.systemPackages = [
    pkgs.gradle
    pkgs.maven
  ];
  environment.sessionVariables = {
    # Fonts of Swing are drawn without smoothing otherwise, outside of the desktops that Java knows.
    _JAVA_OPTIONS = "-Dawt.useSystemAAFontSettings=on -Dswing.aatext=true";
    # Without it windows of Swing stay grey in a window manager that does not reparent.
    _JAVA_AWT_WM_NONREPARENTING = "1";
  };
}
