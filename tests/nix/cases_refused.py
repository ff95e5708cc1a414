"""What the module refuses: accounts, names, paths, settings that could not work or would not be safe."""

from case import ALICE, GUEST, Case, one

USERS: tuple[Case, ...] = (
    Case(
        "trap 9: without a uid nothing is built",
        '{ users.users.alice.isNormalUser = true; betterContainers.base.userName = "alice"; '
        "betterContainers.containers.blog = { }; }",
        error=("the uid of users.users.alice must be set on the host",),
    ),
    Case(
        "a user that the host does not have is named",
        one('users = [ "alice" "bob" ];'),
        error=("users.users.bob",),
    ),
    Case("root is not a user", one('users = [ "root" ];', host="users.users.root.uid = 0;"), error=("root is root",)),
    Case("nobody at all is refused", one("users = [ ];"), error=("users is empty",)),
    Case(
        "trap 10: mkForce can't put the user into a group",
        one('config = [ ({ lib, ... }: { users.users.alice.extraGroups = lib.mkForce [ "wheel" ]; }) ];'),
        f"{GUEST}.users.alice.extraGroups",
        [],
    ),
    Case(
        "trap 10: what is stronger is refused",
        one('config = [ ({ lib, ... }: { users.users.alice.extraGroups = lib.mkOverride 5 [ "wheel" ]; }) ];'),
        error=("alice must be in no extra group", "extraGroups = [ wheel ]"),
    ),
    Case(
        "trap 11: members of a group are a second door",
        one('config = { users.groups.docker.members = [ "alice" ]; };'),
        error=("alice must be in no extra group", "users.groups.docker.members"),
    ),
    Case(
        "the account's own group is a third",
        one('config = { users.users.alice.group = "wheel"; };'),
        error=("alice must be in no extra group", 'group = "wheel"'),
    ),
    Case(
        "another uid inside is refused",
        one("config = [ ({ lib, ... }: { users.users.alice.uid = lib.mkForce 1500; }) ];"),
        error=("must have the uid of the host in a container (1000), but has 1500",),
    ),
    Case("trap 12: sudo is off inside", one(), f"{GUEST}.sudo", False),
    Case(
        "everyone whom policy admits has an account inside, after a password too",
        one(
            'users = [ "alice" "bob" ];',
            host="users.users.bob = { isNormalUser = true; uid = 1001; }; users.users.carol = { isNormalUser = true; "
            'uid = 1002; }; services.isod.containers.blog.ask = [ "carol" ];',
        ),
        f"builtins.mapAttrs (_: user: user.uid) {GUEST}.users",
        {"alice": 1000, "bob": 1001, "carol": 1002},
    ),
    *(
        Case(
            f"trap 25: the user is trusted by the Nix daemon through {entry}",
            one("nixDaemon = true;", host=f'nix.settings.trusted-users = [ "{entry}" ]; {more}'),
            error=("trusted by the host's Nix daemon", entry, "nixDaemon = false", 'privateUsers = "pick"'),
        )
        for entry, more in (
            ("alice", ""),
            ("@wheel", 'users.users.alice.extraGroups = [ "wheel" ];'),
            ("@admin", 'users.groups.admin.members = [ "alice" ];'),
            ("*", ""),
        )
    ),
    *(
        Case(
            f"trap 25: {way} makes a trusted user harmless",
            one(way, host='nix.settings.trusted-users = [ "alice" ];'),
            "h.toplevel",
            "nixos-system-nixos",
        )
        for way in ("nixDaemon = false;", 'nixDaemon = true; privateUsers = "pick";')
    ),
)

NAMES_AND_PATHS = (
    *(
        Case(
            f"{name!r} is no name of a container",
            f'({{ ... }}: {{ {ALICE} betterContainers.containers."{name}" = {{ }}; }})',
            error=("can't be the name of a container",),
        )
        for name in ("my_blog", "-blog", "blog-", "a..b", "bl og", "blög", "a" * 65, "x/y")
    ),
    Case(
        "names that systemd takes are taken",
        f'({{ ... }}: {{ {ALICE} betterContainers.containers = {{ "Upper.Case-1" = {{ }}; a = {{ }}; }}; }})',
        "builtins.attrNames h.containers",
        ["Upper.Case-1", "a"],
    ),
    Case(
        "a policy of a name that can't be is refused",
        '{ services.isod.enable = true; services.isod.containers."../x".users = [ "alice" ]; }',
        error=("services.isod.containers", "can't be the name of a container"),
    ),
    *(
        Case(
            f"{path!r} breaks a start and is refused",
            one(f'shares."{path}" = {{ }};'),
            error=("can't be shared", reason),
        )
        for path, reason in (
            ("/home/alice/my src", "would break"),
            ("/home/a:b", "would break"),
            ("/home/100%", "would break"),
            ("/home/*", "would break"),
            ("/home/a?", "would break"),
            ("/home/[a]", "would break"),
            ("/home/$HOME", "would break"),
            ("/home/`id`", "would break"),
            ("/home/\\\\x", "would break"),
            ("/home/a'b", "would break"),
            ('/home/\\"a', "would break"),
            ("/home/a\\nb", "would break"),
            ("src", "not absolute"),
            ("/home/../etc", "`..`"),
            ("/home//x", "empty part"),
            ("/home/x/", "empty part"),
        )
    ),
    *(
        Case(
            f"trap 13: {path} of the host is never shared",
            one(f'shares."{path}" = {{ }};'),
            error=("can't be shared", reason),
        )
        for path, reason in (
            ("/run/user/1000", "the host loses its sockets"),
            ("/run/user", "the host loses its sockets"),
            ("/run", "can't be shared"),
            ("/", "all of the host"),
            ("/tmp/.X11-unix", "grant x11"),
            ("/tmp", "grant x11"),
            ("/dev/dri", "grant gpu"),
            ("/nix/store", "the store is there already"),
            ("/proc/1/root", "it is the host's"),
            ("/run/isod/state", "isod's own"),
        )
    ),
    *(
        Case(
            f"trap 13 and 14: {path} bound by hand is refused",
            one(host=f'containers.blog.bindMounts."{path}" = {{ hostPath = "{path}"; }};'),
            error=("must not be bound into a container", path),
        )
        for path in ("/run/user/1000", "/run/user/1000/wayland-1", "/tmp/.X11-unix")
    ),
    Case(
        "a path that breaks is refused by hand too",
        one(host='containers.blog.bindMounts."/srv/a b".hostPath = "/srv/a b";'),
        error=("containers.blog.bindMounts", "would break"),
    ),
    *(
        Case(
            f"nothing is mounted over {path}",
            one(f'shares."/srv/x".mountPoint = "{path}";'),
            error=("can't be a mount point",),
        )
        for path in ("/", "/etc", "/nix/store", "/run/isoctl", "/dev/dri", "/proc/x", "relative")
    ),
    *(
        Case(
            f"{text!r} is no filter of system calls",
            one(f'syscallFilter = [ "{text}" ];'),
            error=("syscallFilter",),
        )
        for text in ("@keyring ~bpf", "--boot", "Bpf", "")
    ),
    Case(
        "hideStore is impossible, and says why",
        one("hideStore = true;"),
        error=("hideStore is impossible", "/nix/store"),
    ),
    Case("an empty runner is refused", one("desktopRunner = [ ];"), error=("desktopRunner is empty",)),
)

CASES = (*USERS, *NAMES_AND_PATHS)
