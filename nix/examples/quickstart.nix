# /etc/nixos/containers.nix, beside a checkout of isoctl in /etc/nixos/isoctl. Add ./containers.nix to the imports of
# configuration.nix, put your own name for alice, and run: nixos-rebuild switch
{ ... }:
let
  isoctl = import ./isoctl;
in
{
  imports = [ isoctl.nixosModules.default ];

  # The number that `id -u` prints.
  users.users.alice.uid = 1000;

  betterContainers = {
    base.userName = "alice";
    containers.blog.config = with isoctl.lib.traits; [
      baseDev
      jvmDev
      ideaCommunity
    ];
  };
}
# Then, as alice:
#   isoctl run blog idea-community
