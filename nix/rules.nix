# What may stand in a name, a path or an address, so that it means the same to Nix, systemd, nspawn and isod.
{ lib }:
let
  # A space or a glob is expanded in NAME.conf's EXTRA_NSPAWN_FLAGS, a colon separates nspawn's arguments, `%` is a
  # specifier in RequiresMountsFor, and the rest has a meaning in an environment file.
  breaking = [
    " "
    "\t"
    "\n"
    "\r"
    ":"
    "%"
    "*"
    "?"
    "["
    "\""
    "'"
    "\\"
    "$"
    "`"
  ];
  isBelow = directory: path: path == directory || lib.hasPrefix "${directory}/" path;

  # Directories of the host that give away what the container is there to keep apart.
  forbiddenSources = {
    "/run/user" =
      "the container's own logind empties it when the last session inside ends, and the host loses its sockets; grant wayland or x11 instead";
    "/tmp/.X11-unix" = "every X client would see every other; grant x11 instead";
    "/run/dbus" = "the host's system bus would be reachable";
    "/run/isod" = "it is isod's own";
    "/run/systemd" = "it is systemd's own";
    "/nix" = "the store is there already, and the rest of /nix is the host's";
    "/dev" = "a node alone can't be opened; grant gpu, or use containers.NAME.allowedDevices";
    "/proc" = "it is the host's";
    "/sys" = "it is the host's";
  };
  forbiddenTargets = [
    "/"
    "/dev"
    "/etc"
    "/nix"
    "/proc"
    "/run"
    "/sys"
    "/usr"
    "/var"
  ];
  forbiddenBelow = [
    "/dev"
    "/nix"
    "/proc"
    "/run/isoctl"
    "/sys"
  ];
in
rec {
  # The same rule as isod's (daemon/isod_contract/names.py); NixOS itself refuses underscores.
  isContainerName =
    name:
    builtins.match "[A-Za-z0-9]([A-Za-z0-9.-]{0,62}[A-Za-z0-9])?" name != null && !lib.hasInfix ".." name;
  isUserName = name: builtins.match "[a-z_][a-z0-9_-]{0,31}" name != null;

  # null, or what is wrong with an absolute path.
  pathProblem =
    path:
    let
      parts = lib.tail (lib.splitString "/" path);
      bad = lib.filter (character: lib.hasInfix character path) breaking;
    in
    if !lib.hasPrefix "/" path then
      "it is not absolute"
    else if bad != [ ] then
      "the character ${builtins.toJSON (lib.head bad)} would break the container's start"
    else if path != "/" && lib.any (part: lib.elem part [ "" "." ".." ]) parts then
      "it has an empty part, `.` or `..`"
    else
      null;
  sourceProblem =
    path:
    let
      found = lib.filter (directory: isBelow directory path || isBelow path directory) (lib.attrNames forbiddenSources);
    in
    if pathProblem path != null then
      pathProblem path
    else if path == "/" then
      "it holds all of the host"
    else if found != [ ] then
      forbiddenSources.${lib.head found}
    else
      null;
  targetProblem =
    path:
    if pathProblem path != null then
      pathProblem path
    else if lib.elem path forbiddenTargets || lib.any (directory: isBelow directory path) forbiddenBelow then
      "it would hide what the container needs there"
    else
      null;

  # Whether this release of NixOS has an option of containers: a definition of one that is not declared is an error.
  supports = options: name: (options.containers.type.getSubOptions [ ]) ? ${name};

  # The host's resolver, as a network of its own sees it: what listens on the host's loopback is not there.
  resolverOf =
    config:
    let
      isLoopback = server: lib.hasPrefix "127." server || lib.hasPrefix "::1" server;
    in
    {
      isLocal =
        config.services.resolved.enable
        || config.networking.resolvconf.useLocalResolver
        || lib.any isLoopback config.networking.nameservers;
      servers = lib.filter (server: !isLoopback server) config.networking.nameservers;
    };

  # The directories between another one and a path below it.
  between =
    directory: path:
    let
      parent = builtins.dirOf path;
    in
    if lib.hasPrefix "${directory}/" parent then between directory parent ++ [ parent ] else [ ];

  # Whether a value of privateUsers makes root inside another user outside.
  isShifted = users: users == "pick" || (builtins.isInt users && users > 0);

  # A filter of systemd-nspawn: a system call or a group, `~` before what is forbidden.
  isSyscallFilter = text: builtins.match "~?@?[a-z_][a-z0-9_-]*" text != null;

  # 10.233.N.0/24 for a container, N from its name, so that it stays when others come and go.
  subnetOf =
    name:
    let
      hash = (builtins.fromTOML "v = 0x${builtins.substring 0 4 (builtins.hashString "sha256" name)}").v;
    in
    1 + (hash - 254 * (hash / 254));
}
