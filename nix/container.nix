# Inside: the accounts, with no more rights than to be there, and what should look as on the host.
{
  config,
  lib,
  options,
  pkgs,
  ...
}:
let
  inherit (lib) mkOption types;
  cfg = config.isod.guest;
  rules = import ./rules.nix { inherit lib; };
  resolver = rules.resolverOf cfg.host;
  names = lib.attrNames cfg.users;
  perUser = lib.concatMap (user: [
    "d /nix/var/nix/profiles/per-user/${user} 0755 ${user} root -"
    "d /nix/var/nix/gcroots/per-user/${user} 0755 ${user} root -"
  ]) names;
  # A profile in the home directory would be a path that the host's daemon can't follow: what it holds could be
  # collected. /nix/var/nix/profiles is a directory of the host that its collector reads.
  profileLinks = map (
    user: "L ${config.users.users.${user}.home}/.nix-profile - - - - /nix/var/nix/profiles/per-user/${user}/profile"
  ) names;
  # nspawn makes what is missing above a mount, as root: a home in which nothing can be made.
  shareParents = lib.unique (
    lib.concatMap (
      user:
      let
        account = config.users.users.${user};
      in
      lib.concatMap (
        path: map (parent: "d ${parent} 0755 ${user} ${account.group} -") (rules.between account.home path)
      ) cfg.mountPoints
    ) names
  );
  # What says, in place of "command not found", why there is none.
  nixIsOff = pkgs.symlinkJoin {
    name = "nix-is-off";
    paths =
      map
        (
          command:
          pkgs.writeShellScriptBin command ''
            echo "${command}: Nix is off in this container; betterContainers.containers.${cfg.name}.nixDaemon = true; on the host turns it on" >&2
            exit 127
          ''
        )
        [
          "nix"
          "nix-build"
          "nix-env"
          "nix-shell"
        ];
  };
in
{
  options.isod.guest = {
    host = mkOption {
      type = types.raw;
      description = "The host's configuration.";
    };
    users = mkOption {
      type = types.attrsOf types.int;
      description = "Accounts of users, with their uids.";
    };
    name = mkOption { type = types.str; };
    mountPoints = mkOption { type = types.listOf types.str; };
    network = mkOption { type = types.str; };
    graphics = mkOption { type = types.bool; };
    nixDaemon = mkOption { type = types.bool; };
    keepInstalled = mkOption { type = types.bool; };
    gcRoots = mkOption { type = types.listOf types.package; };
  };

  config = {
    users.users = lib.mapAttrs (_: uid: {
      inherit uid;
      isNormalUser = true;
      # Stronger than mkForce: two mkForce of lists are joined. The next block looks at what comes of it.
      extraGroups = lib.mkOverride 10 [ ];
    }) cfg.users;

    assertions = lib.concatMap (
      user:
      let
        account = config.users.users.${user};
        memberOf = lib.attrNames (lib.filterAttrs (_: group: lib.elem user group.members) config.users.groups);
        doors =
          lib.optional (account.extraGroups != [ ]) "extraGroups = [ ${toString account.extraGroups} ]"
          ++ map (group: "users.groups.${group}.members") memberOf
          ++ lib.optional (!lib.elem account.group [ "users" user ]) "group = \"${account.group}\"";
      in
      [
        {
          assertion = doors == [ ];
          message = "${user} must be in no extra group in a container, but is by ${lib.concatStringsSep " and " doors}. Remove it; what needs root is done by the container's configuration, or with the grant `root`.";
        }
        {
          assertion = account.uid == cfg.users.${user};
          message = "${user} must have the uid of the host in a container (${toString cfg.users.${user}}), but has ${toString account.uid}.";
        }
      ]
    ) names;

    # What `isoctl menu` shows.
    environment.pathsToLink = [
      "/share/applications"
      "/share/icons"
    ];

    # Nobody inside has a password to give.
    security.sudo.enable = lib.mkDefault false;

    system.stateVersion = lib.mkDefault cfg.host.system.stateVersion;
    system.extraDependencies = cfg.gcRoots;
    time.timeZone = lib.mkDefault cfg.host.time.timeZone;
    # A zone that only the container has was chosen for it; isod has apps follow the host's unless something here says TZ.
    environment.sessionVariables = lib.mkIf (
      config.time.timeZone != null && config.time.timeZone != cfg.host.time.timeZone
    ) { TZ = lib.mkDefault config.time.timeZone; };
    # With the locales of LC_TIME and its like, of which NixOS makes those that are named here.
    i18n = {
      defaultLocale = lib.mkDefault cfg.host.i18n.defaultLocale;
      extraLocaleSettings = lib.mapAttrs (_: lib.mkDefault) cfg.host.i18n.extraLocaleSettings;
    }
    # Of NixOS 25.05 and newer.
    // lib.optionalAttrs (options.i18n ? extraLocales) {
      extraLocales = lib.mkDefault (cfg.host.i18n.extraLocales or [ ]);
    };

    hardware.graphics = lib.mkIf (cfg.graphics && cfg.host.hardware.graphics.enable) {
      enable = lib.mkDefault true;
      inherit (cfg.host.hardware.graphics) package package32 extraPackages extraPackages32;
      enable32Bit = lib.mkDefault cfg.host.hardware.graphics.enable32Bit;
    };
    fonts = lib.mkIf cfg.graphics {
      inherit (cfg.host.fonts) packages;
      fontconfig.defaultFonts = lib.mapAttrs (_: lib.mkDefault) {
        inherit (cfg.host.fonts.fontconfig.defaultFonts)
          serif
          sansSerif
          monospace
          emoji
          ;
      };
    };

    networking = lib.mkIf (cfg.network == "private" && resolver.isLocal) {
      useHostResolvConf = lib.mkForce false;
      nameservers = lib.mkDefault resolver.servers;
    };

    nix.enable = lib.mkIf (!cfg.nixDaemon) (lib.mkDefault false);
    # Home Manager's unit, and Nix before 2.14, want them; they are there before multi-user.target.
    systemd.tmpfiles.rules =
      shareParents ++ lib.optionals cfg.nixDaemon (perUser ++ lib.optionals cfg.keepInstalled profileLinks);
    environment.systemPackages = lib.mkIf (!config.nix.enable) [ (lib.lowPrio nixIsOff) ];

    warnings = map (
      variable:
      "environment.sessionVariables.${variable} is set in a container: isod sets it for each app, from the caller's live session. Remove it."
    ) (
      lib.filter (variable: config.environment.sessionVariables ? ${variable}) [
        "DBUS_SESSION_BUS_ADDRESS"
        "DISPLAY"
        "WAYLAND_DISPLAY"
        "XDG_RUNTIME_DIR"
      ]
    );
  };
}
