# Home Manager, on the host only: who you are, and where your keys lead.
{
  programs.git.enable = true;
  programs.git.settings.user = {
    name = "Alice";
    email = "alice@example.org";
  };
  programs.ssh.enable = true;
  programs.ssh.matchBlocks.server.hostname = "server.example.org";
}
