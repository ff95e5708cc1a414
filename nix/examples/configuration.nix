# A machine with several environments, one base and templates. `isoctl` and `home-manager` are specialArgs: the flake's
# inputs, or `import ./isoctl` and a checkout of Home Manager.
{
  isoctl,
  home-manager,
  pkgs,
  ...
}:
let
  inherit (isoctl.lib) traits withFhs;

  # Templates are plain values: name them, compose them.
  webdev = [
    traits.baseDev
    traits.nodejsDev
  ];
  jvmWeb = webdev ++ [ traits.jvmDev ];
in
{
  imports = [
    isoctl.nixosModules.default
    home-manager
    ./desktop.nix
  ];

  users.users.alice = {
    isNormalUser = true;
    uid = 1000;
    extraGroups = [ "wheel" ];
  };
  system.stateVersion = "26.05";

  betterContainers = {
    base = {
      userName = "alice";
      # The host's user is not trusted by the Nix daemon, and Home Manager needs it.
      acceptedExposures = [ "nix-daemon" ];
      config = {
        programs.fish.enable = true;
      };
    };
    homeManager = {
      module = home-manager;
      home = ./home.nix;
      homeHost = ./home-host.nix;
    };
    containers = {
      blog = {
        config = jvmWeb ++ [ traits.ideaCommunity ];
        shares."/home/alice/src/blog".readOnly = false;
        idleStop = 3600;
      };
      # Prebuilt programs of npm and the like find /lib64 and /usr/bin.
      shop = {
        config = withFhs jvmWeb;
        desktopRunner = "enter-fhs";
        privateUsers = "pick";
      };
      browser = {
        config = { environment.systemPackages = [ pkgs.firefox ]; };
        grants = {
          gpu = "render";
          x11 = "none";
        };
        acceptedExposures = [ "gpu" ];
        autoStart = true;
      };
      # Mail of one, documents of the other: no network but what is here, no windows of X.
      offline = {
        config = [ traits.pythonDev ];
        network = "none";
        syscallFilter = [ "~@keyring" ];
        grants.x11 = "none";
      };
    };
  };

  # Containers that others declare have policy only.
  containers.legacy = {
    config = { system.stateVersion = "24.11"; };
  };
  services.isod.containers.legacy.users = [ "alice" ];

  services.isod.settings = {
    defaults.start_timeout_sec = 120;
    never.x11 = [ "host" ];
  };
}
