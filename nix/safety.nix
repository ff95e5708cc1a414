# What must hold, or the system is not built: each message says what is wrong and what to write instead.
{
  config,
  lib,
  options,
  ...
}:
let
  cfg = config.betterContainers;
  rules = import ./rules.nix { inherit lib; };
  inherit (rules) isShifted;
  resolver = rules.resolverOf config;
  check = assertion: message: { inherit assertion message; };

  accountChecks =
    at: user:
    let
      uid = config.users.users.${user}.uid or null;
    in
    [
      (check (rules.isUserName user)
        "${at}: ${builtins.toJSON user} can't be the name of an account inside: lower-case letters, digits, `-` and `_`, at most 32."
      )
      (check (config.users.users ? ${user})
        "${at}: the host has no user ${user}; declare users.users.${user}, or name another user."
      )
      (check (!(config.users.users ? ${user}) || uid != null)
        "${at}: the uid of users.users.${user} must be set on the host, as in `users.users.${user}.uid = 1000;`, since its account in containers has the same."
      )
      (check (uid != 0) "${at}: ${user} is root; name an ordinary user.")
    ];

  # The groups of a user of the host, by every way into one.
  groupsOf =
    user:
    let
      account = config.users.users.${user} or { };
    in
    (account.extraGroups or [ ])
    ++ [ (account.group or "") ]
    ++ lib.attrNames (lib.filterAttrs (_: group: lib.elem user group.members) config.users.groups);
  # Which entry of trusted-users makes the user one.
  trustedBy =
    user:
    lib.filter (entry: lib.elem entry ([ "*" user ] ++ map (group: "@${group}") (groupsOf user))) (
      config.nix.settings.trusted-users or [ ]
    );
  trustChecks =
    at: container: user:
    check
      (!container.nixDaemon || isShifted container.privateUsers || trustedBy user == [ ])
      "${at}: ${user} is trusted by the host's Nix daemon (nix.settings.trusted-users: ${toString (trustedBy user)}), so what runs in the container could become root on the host. Take it out of there, or set nixDaemon = false or privateUsers = \"pick\" here.";

  shareChecks =
    at: path: share:
    let
      source = rules.sourceProblem path;
      target = rules.targetProblem share.mountPoint;
    in
    [
      (check (source == null) "${at}.shares: ${builtins.toJSON path} can't be shared: ${toString source}.")
      (check (target == null)
        "${at}.shares: ${builtins.toJSON share.mountPoint} can't be a mount point: ${toString target}."
      )
    ];

  containerChecks =
    name: container:
    let
      at = "betterContainers.containers.${name}";
    in
    [
      (check (rules.isContainerName name)
        "betterContainers.containers: ${builtins.toJSON name} can't be the name of a container: letters, digits, `-` and `.`, at most 64, letters and digits at both ends, no `_`."
      )
      (check (container.users != [ ]) "${at}.users is empty: nobody could use it.")
      (check (container.desktopRunner != [ ]) "${at}.desktopRunner is empty; leave it out.")
      (check (!container.hideStore)
        "${at}.hideStore is impossible: a NixOS container runs from the host's /nix/store, which is bound into it whole. Keep secrets out of the store instead."
      )
      (check (cfg.homeManager.home == null || cfg.homeManager.module != null)
        "betterContainers.homeManager.home is set, but homeManager.module is not: set it to Home Manager's NixOS module, as in `inputs.home-manager.nixosModules.home-manager`."
      )
      (check (cfg.homeManager.module == null || container.nixDaemon)
        "${at}.nixDaemon is false, but Home Manager's activation calls the Nix daemon; leave one of them out."
      )
      (check
        (container.network != "private" || !resolver.isLocal || resolver.servers != [ ])
        "${at}.network is \"private\", and the host's resolver listens on the host's loopback only: set networking.nameservers to others than that, which the container then asks itself, or network = \"none\"."
      )
      (check (container.privateUsers == "no" || rules.supports options "privateUsers")
        "${at}.privateUsers needs NixOS 25.05, and this one is older: leave it out."
      )
      (check (!container.nixDaemon || config.nix.enable)
        "${at}.nixDaemon is true, but this host has no Nix daemon (nix.enable = false): leave it out, and homeManager.module too."
      )
    ]
    ++ map (
      filter:
      check (rules.isSyscallFilter filter)
        "${at}.syscallFilter: ${builtins.toJSON filter} is neither a system call nor a group such as @keyring, with or without `~`."
    ) container.syscallFilter
    ++ lib.concatMap (accountChecks "${at}.users") container.users
    ++ map (trustChecks at container) container.users
    ++ lib.concatLists (lib.mapAttrsToList (shareChecks at) container.shares);

  # Binds that came by another way, for all containers that isod drives.
  bindChecks =
    name: container:
    lib.concatLists (
      lib.mapAttrsToList (
        _: bind:
        let
          path = if bind.hostPath == null then bind.mountPoint else bind.hostPath;
          isDangerous = lib.any (directory: path == directory || lib.hasPrefix "${directory}/" path) [
            "/run/user"
            "/tmp/.X11-unix"
          ];
        in
        map
          (
            item:
            check (rules.pathProblem item == null)
              "containers.${name}.bindMounts: ${builtins.toJSON item}: ${toString (rules.pathProblem item)}."
          )
          [
            path
            bind.mountPoint
          ]
        ++ [
          (check (!isDangerous)
            "containers.${name}.bindMounts: ${path} must not be bound into a container: ${toString (rules.sourceProblem path)}."
          )
        ]
      ) container.bindMounts
    );

  privateOnes = lib.filterAttrs (_: container: container.network == "private") cfg.containers;
  sameSubnet = lib.filterAttrs (_: names: lib.length names > 1) (
    lib.foldl' (
      found: name:
      let
        key = toString privateOnes.${name}.subnet;
      in
      found // { ${key} = (found.${key} or [ ]) ++ [ name ]; }
    ) { } (lib.attrNames privateOnes)
  );
in
{
  config.assertions =
    lib.optionals cfg.enable (
      lib.concatLists (lib.mapAttrsToList containerChecks cfg.containers)
      ++ lib.mapAttrsToList (
        subnet: names:
        check false
          "betterContainers.containers: ${lib.concatStringsSep " and " names} share 10.233.${subnet}.0/24; set `subnet` of one to another number."
      ) sameSubnet
    )
    ++ lib.optionals config.services.isod.enable (
      lib.concatLists (
        lib.mapAttrsToList (name: _: lib.optionals (config.containers ? ${name}) (bindChecks name config.containers.${name}))
          config.services.isod.containers
      )
      ++ map (
        name:
        check (rules.isContainerName name)
          "services.isod.containers: ${builtins.toJSON name} can't be the name of a container: letters, digits, `-` and `.`, at most 64, letters and digits at both ends, no `_`."
      ) (lib.attrNames config.services.isod.containers)
    );
}
