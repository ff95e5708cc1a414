"""What NixOS would write for the containers of a host: for lab.nixos, which lays them out on the lab host."""

from typing import Any

from nixeval import evaluate

_EXPRESSION = """
with t; let
  c = (host [ (HOST) ]).config;
  one = name: let guest = c.containers.${name}.config; in {
    unit = c.rendered.units."container@${name}";
    conf = c.environment.etc."nixos-containers/${name}.conf".text;
    policy = c.environment.etc."isod/containers/${name}.toml".text;
    inherit (c.rendered) files;
    packages = lib.genAttrs [ "bash" "coreutils" "iproute2" "systemd" ] (name: "${pkgs.${name}}");
    system = "${c.containers.${name}.path}";
    tmpfiles = guest.systemd.tmpfiles.rules;
    variables = guest.environment.sessionVariables;
    users = builtins.attrNames guest.isod.guest.users;
  };
in {
  containers = builtins.mapAttrs (name: _: one name) c.containers;
  reload = c.systemd.services.isod.serviceConfig.ExecReload;
  launchers = (look.host c).launchers;
}
"""


def laid_out(host: str) -> dict[str, Any]:
    """Evaluate a host's module, written in Nix; `containers` holds the fields of lab.nixos.Evaluated by name."""
    found: dict[str, Any] = evaluate(_EXPRESSION.replace("HOST", host))
    return found
