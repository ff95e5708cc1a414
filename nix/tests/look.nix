# Everything of an evaluated host that follows from betterContainers, as plain data: forced by whoever prints it.
{ lib }:
rec {
  names = packages: lib.sort (a: b: a < b) (map (one: one.name) packages);
  sorted = lib.sort (a: b: a < b);

  guest = config: {
    users = lib.mapAttrs (_: user: {
      inherit (user) uid isNormalUser extraGroups group;
      packages = names user.packages;
    }) config.users.users;
    packages = lib.filter (name: name != "nix-is-off") (names config.environment.systemPackages);
    nixIsOff = lib.concatMap (one: lib.optionals (one.name == "nix-is-off") (
      map (path: path.text) one.paths
    )) config.environment.systemPackages;
    fhs = lib.concatMap (one: lib.optional (one.name == "enter-fhs") {
      inherit (one.arguments) unsharePid;
      targets = lib.filter (name: name != "nix-is-off") (sorted one.targets);
      run = one.arguments.runScript.text;
    }) config.environment.systemPackages;
    variables = config.environment.sessionVariables;
    tmpfiles = sorted config.systemd.tmpfiles.rules;
    graphics = {
      inherit (config.hardware.graphics) enable enable32Bit;
      package = config.hardware.graphics.package.name;
      extraPackages = names config.hardware.graphics.extraPackages;
    };
    fonts = names config.fonts.packages;
    monospace = config.fonts.fontconfig.defaultFonts.monospace;
    nix = config.nix.enable;
    links = sorted config.environment.pathsToLink;
    sudo = config.security.sudo.enable;
    nameservers = config.networking.nameservers;
    useHostResolvConf = config.networking.useHostResolvConf;
    hostName = config.networking.hostName;
    stateVersion = config.system.stateVersion;
    timeZone = config.time.timeZone;
    zoneOfItsOwn = config.environment.sessionVariables.TZ or null;
    locales = { inherit (config.i18n) defaultLocale extraLocaleSettings; };
    extraDependencies = names config.system.extraDependencies;
    warnings = config.warnings;
    services = lib.mapAttrs (_: unit: {
      inherit (unit) wantedBy after before;
      inherit (unit) serviceConfig unitConfig;
    }) config.systemd.services;
    homes = lib.mapAttrs (_: user: {
      inherit (user.home) stateVersion sessionVariables;
      packages = names user.home.packages;
    }) (config.home-manager.users or { });
    homeManager = lib.mapAttrs (name: _: config.home-manager.${name}) (
      lib.optionalAttrs (config ? home-manager) { useGlobalPkgs = null; useUserPackages = null; }
    );
  };

  host = config: {
    toplevel = config.system.build.toplevel.name;
    inherit (config) warnings;
    isod = config.services.isod.enable;
    polkit = config.security.polkit.enable;
    packages = names config.environment.systemPackages;
    dbus = map (one: one.name) config.services.dbus.packages;
    unitPackages = names config.systemd.packages;
    tmpfilesPackages = names config.systemd.tmpfiles.packages;
    checks = map (one: one.text) config.system.checks;
    groups = lib.attrNames config.users.groups;
    policy = lib.mapAttrs (_: file: { inherit (file) text mode user group; }) (
      lib.filterAttrs (name: _: lib.hasPrefix "isod/" name) config.environment.etc
    );
    launchers = lib.listToAttrs (
      lib.concatMap (
        one: lib.optional (lib.hasSuffix "-launcher" one.name) (lib.nameValuePair one.name one.text)
      ) config.environment.systemPackages
    );
    desktopEntries = lib.concatMap (
      one: lib.optional (lib.hasSuffix ".desktop" one.name) one.arguments
    ) config.environment.systemPackages;
    services = lib.mapAttrs (_: unit: {
      inherit (unit) wantedBy stopIfChanged restartIfChanged serviceConfig;
      reloadTriggers = map (one: one.name) unit.reloadTriggers;
    }) (lib.filterAttrs (name: _: name == "isod") config.systemd.services);
    sockets = lib.mapAttrs (_: unit: { inherit (unit) wantedBy; }) config.systemd.sockets;
    sessionPath = lib.mapAttrs (_: unit: map (one: one.name) unit.path) config.systemd.user.services;
    nat = { inherit (config.networking.nat) enable internalIPs; };
    unmanaged = config.networking.networkmanager.unmanaged;
    forward = {
      inherit (config.networking.nat) extraCommands extraStopCommands;
      inherit (config.networking.firewall) extraForwardRules;
    };
    tmpfiles = sorted config.systemd.tmpfiles.rules;
    resolvConf = lib.mapAttrs (_: unit: {
      inherit (unit) wantedBy;
      inherit (unit) pathConfig;
      inherit (config.systemd.services.isod-resolv-conf) script serviceConfig;
    }) (lib.filterAttrs (name: _: name == "isod-resolv-conf") config.systemd.paths);
    containers = lib.mapAttrs (_: one: {
      inherit (one)
        autoStart
        restartIfChanged
        privateNetwork
        hostAddress
        localAddress
        timeoutStartSec
        bindMounts
        allowedDevices
        extraFlags
        ;
      # Where the release has them.
      privateUsers = one.privateUsers or null;
      copyResolvConf = one.copyResolvConf or null;
      guest = guest one.config;
      system = one.path.name;
    }) config.containers;
    conf = lib.mapAttrs (_: file: file.text) (
      lib.filterAttrs (name: _: lib.hasPrefix "nixos-containers/" name) config.environment.etc
    );
    units = lib.filterAttrs (name: _: lib.hasPrefix "container@" name) (config.rendered.units or { });
    homes = lib.mapAttrs (_: user: { packages = names user.home.packages; }) (config.home-manager.users or { });
  };
}
