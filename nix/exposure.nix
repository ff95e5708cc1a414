# What a container can reach beyond itself, said at each evaluation with the option that closes it.
{
  config,
  lib,
  ...
}:
let
  cfg = config.betterContainers;
  isod = config.services.isod;
  policy = import ./policy-options.nix { inherit lib; };
  inherit (import ./rules.nix { inherit lib; }) isShifted;

  first = lib.foldl' (found: value: if found == null then value else found) null;
  # The level that isod will take: the container's own, else the default of all, else isod's, under the ceiling.
  grantOf =
    name: key:
    let
      asked = first [
        isod.containers.${name}.grants.${key}
        isod.settings.defaults.grants.${key}
        policy.grantDefaults.${key}
      ];
      level = if builtins.isList asked then lib.last policy.grantLevels.${key} else asked;
      forbidden = isod.settings.never.${key} or null;
    in
    if forbidden != null && lib.elem level forbidden then "none" else level;

  grantExposures =
    name:
    let
      at = "services.isod.containers.${name}.grants";
    in
    [
      {
        id = "x11-host";
        holds = grantOf name "x11" == "host";
        text = "its X clients can read the screen and the keyboard of all others on your X server. `${at}.x11 = \"isolated\"` gives it a server of its own.";
      }
      {
        id = "wayland-raw";
        holds = grantOf name "wayland" == "raw";
        text = "it has your compositor's own socket, with screen copying and input injection where the compositor offers them. `${at}.wayland = \"secured\"` keeps those out.";
      }
      {
        id = "gpu";
        holds = grantOf name "gpu" != "none";
        text = "it can talk to the graphics driver in the host's kernel. `${at}.gpu = \"none\"` closes that; programs then draw without hardware.";
      }
    ];

  environmentExposures =
    name: container:
    let
      at = "betterContainers.containers.${name}";
    in
    [
      {
        id = "shared-network";
        holds = container.network == "host";
        text = "it shares the host's network: all that listens on 127.0.0.1 and every abstract socket, an X server's among them. `${at}.network = \"private\"` gives it its own.";
      }
      {
        id = "nix-daemon";
        holds = container.nixDaemon && !isShifted container.privateUsers;
        text = "it reaches the host's Nix daemon as the host's own user. `${at}.nixDaemon = false` masks the socket; `${at}.privateUsers = \"pick\"` makes it a stranger there.";
      }
      {
        id = "root";
        holds = grantOf name "root" != "none" && !isShifted container.privateUsers;
        text = "root inside is root of the host's kernel and not confined. `services.isod.containers.${name}.grants.root = \"none\"`, or `${at}.privateUsers = \"pick\"`, closes that.";
      }
    ];

  warningsOf =
    name:
    let
      container = cfg.containers.${name} or null;
      isOurs = cfg.enable && container != null;
      accepted = lib.optionals isOurs (container.acceptedExposures ++ cfg.base.acceptedExposures);
      all = grantExposures name ++ lib.optionals isOurs (environmentExposures name container);
    in
    map (
      exposure:
      "container ${name} (${exposure.id}): ${exposure.text}"
      + lib.optionalString isOurs " If it is meant: `betterContainers.containers.${name}.acceptedExposures = [ \"${exposure.id}\" ]`."
    ) (lib.filter (exposure: exposure.holds && !lib.elem exposure.id accepted) all);
in
{
  config.warnings = lib.optionals isod.enable (lib.concatMap warningsOf (lib.attrNames isod.containers));
}
