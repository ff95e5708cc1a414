"""The directories of a user inside a container: /run/user/UID and nix's per-user ones."""

import os
from collections.abc import Collection
from typing import Any

from isod.host import rootfs
from isod.ports import Account

_NIX = (("nix", "var", "nix", "profiles", "per-user"), ("nix", "var", "nix", "gcroots", "per-user"))


class GuestFiles:
    """Adapter of `Files`."""

    def prepare_nix_and_check(self, guest: Any, account: Account, container: str) -> bool:
        """Make nix's directories where /nix/var/nix is; tell whether the runtime directory is right."""
        nix_fd = rootfs.open_directory(guest.root_fd, "nix/var/nix", container)
        if nix_fd is not None:
            os.close(nix_fd)
            shift = guest.uid_shift
            owner = (shift + account.uid, shift + account.gid)
            for components in _NIX:
                rootfs.ensure_directory(
                    guest.root_fd, (*components, account.name), container, root_uid=shift, owner=owner, mode=0o755
                )
        return self.runtime_ready(guest, account, container)

    def runtime_ready(self, guest: Any, account: Account, container: str) -> bool:
        """Tell whether /run/user/UID is the account's own, 0700, with a session bus."""
        path = f"run/user/{account.uid}"
        owner_uid = guest.uid_shift + account.uid
        if not rootfs.is_directory_of(guest.root_fd, path, container, owner_uid=owner_uid, mode=0o700):
            return False
        fd = rootfs.open_socket(guest.root_fd, f"{path}/bus", container)
        if fd is None:
            return False
        os.close(fd)
        return True

    def has_any(self, guest: Any, paths: Collection[str]) -> bool:
        """Tell whether any of these is there, as a process inside sees it."""
        for path in paths:
            try:
                os.close(rootfs.open_in_root(guest.root_fd, path, os.O_PATH))
            except OSError:
                continue
            return True
        return False

    def make_runtime_directory(self, guest: Any, account: Account, container: str) -> None:
        """Make /run/user/UID by fd."""
        shift = guest.uid_shift
        rootfs.ensure_directory(
            guest.root_fd,
            ("run", "user", str(account.uid)),
            container,
            root_uid=shift,
            owner=(shift + account.uid, shift + account.gid),
            mode=0o700,
        )
