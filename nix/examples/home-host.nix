# Home Manager, on the host only: who you are, and where your keys lead.
{
  programs.git.enable = true;
  # Until 25.05: programs.git.extraConfig.user
  programs.git.settings.user = {
    name = "Alice";
    email = "alice@example.org";
  };
  home.file.".ssh/config".text = ''
    Host server
      HostName server.example.org
  '';
}
