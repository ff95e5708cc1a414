"""Home Manager, and what is said of a container that reaches beyond itself."""

from case import GUEST, HM, Case, one

HOME_MANAGER = (
    Case(
        "inside: global packages, user packages, the shared configuration, no host's",
        one(
            base=HM + "betterContainers.homeManager.home = { pkgs, ... }: { home.packages = [ pkgs.hello ]; }; "
            "betterContainers.homeManager.homeHost = { home.packages = [ pkgs.thunderbird ]; };",
            host="imports = [ homeManager ];",
        ),
        f"{{ guest = {GUEST}.homes.alice.packages; inherit ({GUEST}) homeManager; host = h.homes.alice.packages; }}",
        {
            "guest": ["hello"],
            "homeManager": {"useGlobalPkgs": True, "useUserPackages": True},
            "host": ["hello", "thunderbird"],
        },
    ),
    Case(
        "per-user profile and gcroots are there before its unit, and `nix profile` uses them",
        one(base=HM),
        f"{GUEST}.tmpfiles",
        [
            "L /home/alice/.nix-profile - - - - /nix/var/nix/profiles/per-user/alice/profile",
            "d /nix/var/nix/gcroots/per-user/alice 0755 alice root -",
            "d /nix/var/nix/profiles/per-user/alice 0755 alice root -",
        ],
    ),
    Case(
        "the profile can stay in the home directory",
        one("keepInstalled = false;", base=HM),
        f"builtins.length {GUEST}.tmpfiles",
        2,
    ),
    Case(
        "a start has time for the first activation",
        one(base=HM),
        "h.containers.blog.timeoutStartSec",
        "300s",
    ),
    Case(
        "only the one whose configuration it is gets it",
        one(
            'users = [ "alice" "bob" ];',
            base=HM,
            host="users.users.bob = { isNormalUser = true; uid = 1001; };",
        ),
        f"builtins.attrNames {GUEST}.homes",
        ["alice"],
    ),
    Case(
        "it needs the Nix daemon",
        one("nixDaemon = false;", base=HM),
        error=("Home Manager's activation calls the Nix daemon",),
    ),
    Case(
        "home.nix without the module is told",
        one(base="betterContainers.homeManager.home = { };"),
        error=("homeManager.module is not",),
    ),
)

EXPOSURES = (
    Case(
        "shared network",
        one('network = "host";'),
        warning=("(shared-network)", 'network = "private"', "acceptedExposures"),
    ),
    Case("host X", one('grants.x11 = "host";'), warning=("(x11-host)", 'grants.x11 = "isolated"')),
    Case("raw Wayland", one('grants.wayland = "raw";'), warning=("(wayland-raw)", 'grants.wayland = "secured"')),
    Case("gpu", one('grants.gpu = "render";'), warning=("(gpu)", 'grants.gpu = "none"')),
    Case("one gpu of several", one('grants.gpu = [ "0000:00:02.0" ];'), warning=("(gpu)",)),
    Case(
        "nix daemon", one("nixDaemon = true;"), warning=("(nix-daemon)", "nixDaemon = false", 'privateUsers = "pick"')
    ),
    Case("root", one('grants.root = "ask";'), warning=("(root)", 'grants.root = "none"')),
    Case("nothing open, nothing said", one(), silent=True),
    Case("no stranger's daemon", one('nixDaemon = true; privateUsers = "pick";'), silent=True),
    Case(
        "accepted",
        one('network = "host"; grants.gpu = "render"; acceptedExposures = [ "gpu" "shared-network" ];'),
        silent=True,
    ),
    Case(
        "accepted for all",
        one("nixDaemon = true;", base='betterContainers.base.acceptedExposures = [ "nix-daemon" ];'),
        silent=True,
    ),
    Case(
        "by the defaults of all", one(host='services.isod.settings.defaults.grants.gpu = "render";'), warning=("(gpu)",)
    ),
    Case(
        "closed by the ceiling of all",
        one('grants.x11 = "host";', host='services.isod.settings.never.x11 = [ "host" ];'),
        silent=True,
    ),
    Case(
        "a container of others",
        '{ services.isod.enable = true; services.isod.containers.web = { users = [ "alice" ]; grants.x11 = "host"; }; }',
        warning=("container web (x11-host)",),
    ),
    Case(
        "stale variables of a session, which isod sets itself",
        one('config = { environment.sessionVariables.WAYLAND_DISPLAY = "wayland-1"; };'),
        f'map (text: builtins.match ".*WAYLAND_DISPLAY.*isod sets it.*" text != null) {GUEST}.warnings',
        [True],
    ),
)

CASES = (*HOME_MANAGER, *EXPOSURES)
