"""What a NixOS container's start script touches by path, as root of the host, in the stopped container's tree.

nixos/modules/virtualisation/nixos-containers.nix, startScript: with `root -> /` in the tree its `chmod 0700 $root/root`
is one of the host's own root directory. isod lets ordinary users start containers, so the tree's last owner must not
choose when that happens to whom. isod checks before it starts one; isod-prepare does in the unit, whoever starts it.
"""

# The directory of container NAME is NAME in one of these, the second with an old system.stateVersion.
ROOTS = ("var/lib/nixos-containers", "var/lib/containers")
# It makes or chmods them. Each comes after those that it lies in.
DIRECTORIES = ("etc", "usr", "usr/bin", "var", "var/lib", "var/lib/private", "root")
# It touches it. etc/os-release and etc/resolv.conf it replaces without following them, so these may be links.
FILES = ("etc/machine-id",)
