"""What the module makes: types and merging, binds, network, drivers, policy, launchers."""

from case import ALICE, GUEST, HM, Case, one
from nixeval import REPOSITORY

TEMPLATE = "({ pkgs, ... }: { environment.systemPackages = [ pkgs.git ]; })"

TYPES_AND_MODULES = (
    Case(
        "trap 1: a module in one file and a list in another are joined",
        one("config = [ isoctl.traits.pythonDev ];")
        + " ({ pkgs, ... }: { betterContainers.containers.blog.config = { environment.systemPackages = [ pkgs.go ]; }; })",
        f"{GUEST}.packages",
        ["go", "python3", "ruff", "uv"],
    ),
    Case(
        "trap 1: a function is a module, in a list and alone",
        one(f"config = {TEMPLATE};") + f" {{ betterContainers.containers.blog.config = [ {TEMPLATE} ]; }}",
        f"{GUEST}.packages",
        ["git", "git"],
    ),
    Case(
        "R-46: formats follow the host's, each one unless the container says otherwise",
        one('config.i18n.extraLocaleSettings.LC_PAPER = "en_US.UTF-8";')
        + ' { i18n.extraLocaleSettings = { LC_TIME = "de_DE.UTF-8"; LC_PAPER = "de_DE.UTF-8"; }; }',
        f"{GUEST}.locales",
        {
            "defaultLocale": "en_US.UTF-8",
            "extraLocaleSettings": {"LC_TIME": "de_DE.UTF-8", "LC_PAPER": "en_US.UTF-8"},
        },
    ),
    Case(
        "R-45: a time zone that only the container has is told to its apps, which follow the host's otherwise",
        one('config.time.timeZone = "Asia/Tokyo";') + ' { time.timeZone = "Europe/Berlin"; }',
        f"{GUEST}.zoneOfItsOwn",
        "Asia/Tokyo",
    ),
    Case(
        "R-45: one that is the host's, or nobody's, is not",
        one("config.time.timeZone = null;") + ' { time.timeZone = "Europe/Berlin"; }',
        f"{GUEST}.zoneOfItsOwn",
        None,
    ),
    Case(
        "trap 2: a trait that comes by two ways counts once",
        one("config = (with isoctl.traits; [ golangDev ] ++ [ golangDev { imports = [ golangDev ]; } ]);"),
        f"{GUEST}.packages",
        ["delve", "gcc", "go", "gopls", "gotools"],
    ),
    Case(
        "trap 2: a template of a template with a classic file system has one",
        one("config = isoctl.withFhs (isoctl.withFhs [ isoctl.traits.pythonDev ]);"),
        "builtins.length h.containers.blog.guest.fhs",
        1,
    ),
    Case(
        "withFhs takes a single module",
        one(f"config = isoctl.withFhs {TEMPLATE};"),
        "(builtins.head h.containers.blog.guest.fhs).targets",
        ["git"],
    ),
    Case(
        "trap 3: the order of traits changes nothing in what is there",
        one(),
        "let of = traits: (look.host (host [ "
        + one("config = traits;")
        + " ]).config).containers.blog; in of (with isoctl.traits; [ golangDev pythonDev ]) "
        "== of (with isoctl.traits; [ pythonDev golangDev ])",
        True,
    ),
    Case(
        "trap 4: without Home Manager on host or guest nothing of it is defined",
        one(),
        "{ host = h.homes; guest = h.containers.blog.guest.homes; }",
        {"host": {}, "guest": {}},
    ),
    Case(
        "trap 4: home-host.nix without Home Manager on the host is told",
        one(base=HM + "betterContainers.homeManager.homeHost = { };"),
        error=("homeHost is set, but this host has no Home Manager",),
    ),
    Case(
        "trap 5: the module imported by two ways is one",
        one() + f" {{ imports = [ (import {REPOSITORY}/default.nix).nixosModules.default ]; }}",
        "h.toplevel",
        "nixos-system-nixos",
    ),
    Case(
        "trap 6: a container's `config` is its own, not the submodule's",
        one('config = { networking.hostName = "journal"; };'),
        f"{GUEST}.hostName",
        "journal",
    ),
    Case(
        "trap 7: an error in a trait names the environment",
        one("config = { environment.systemPackages = 7; };"),
        error=("containers.blog.environment.systemPackages", "betterContainers.containers.blog.config"),
    ),
    Case(
        "trap 8: enter-fhs has every package, of Home Manager too, but not itself",
        one(
            "config = isoctl.withFhs [ isoctl.traits.nodejsDev { isod.fhs.extraPackages = [ pkgs.gcc ]; } ];",
            base=HM + "betterContainers.homeManager.home = { home.packages = [ pkgs.hello ]; };",
        ),
        "(builtins.head h.containers.blog.guest.fhs).targets",
        ["gcc", "home-manager-path", "nodejs", "pnpm"],
    ),
    Case(
        "a misspelt key is named",
        one('desktopRuner = "x";'),
        error=("betterContainers.containers.blog.desktopRuner", "does not exist"),
    ),
    Case(
        "a wrong type is named",
        one('idleStop = "1h";'),
        error=("betterContainers.containers.blog.idleStop", "is not of type"),
    ),
)

WHAT_IS_GENERATED = (
    Case(
        "trap 13 to 15: nothing of /run/user is bound; isod's directory is",
        one("nixDaemon = true;"),
        "h.containers.blog.extraFlags",
        [
            "--bind-ro=/run/isod/container/blog/run:/run/isoctl",
            "--bind-ro=/run/isod/container/blog/dri:/dev/dri",
        ],
    ),
    Case(
        "the binds are in NAME.conf, whose flags override a variable of the unit",
        one("nixDaemon = true;"),
        'builtins.match ".*EXTRA_NSPAWN_FLAGS=\\".*--bind-ro=/run/isod/container/blog/run:/run/isoctl .*" '
        '(builtins.replaceStrings [ "\\n" ] [ " " ] h.conf."nixos-containers/blog.conf") != null',
        True,
    ),
    Case(
        "a share is a bind, read-only unless said",
        one('shares."/srv/a" = { }; shares."/srv/b" = { mountPoint = "/b"; readOnly = false; };'),
        "h.containers.blog.bindMounts",
        {
            "/srv/a": {"hostPath": "/srv/a", "isReadOnly": True, "mountPoint": "/srv/a"},
            "/b": {"hostPath": "/srv/b", "isReadOnly": False, "mountPoint": "/b"},
        },
    ),
    Case(
        "trap 26: with user namespaces shares are mapped, and waited for",
        one('privateUsers = "pick"; nixDaemon = true; shares."/srv/a" = { }; shares."/srv/b".readOnly = false;'),
        'let mounts = lib.filter (lib.hasInfix "/srv") h.containers.blog.extraFlags; '
        'in { inherit mounts; inherit (h.containers.blog) bindMounts; '
        'waits = c.systemd.services."container@blog".unitConfig.RequiresMountsFor; }',
        {
            "bindMounts": {},
            "mounts": ["--bind-ro=/srv/a:/srv/a:idmap", "--bind=/srv/b:/srv/b:idmap"],
            "waits": ["/var/lib/nixos-containers/%i", "/srv/a", "/srv/b"],
        },
    ),
    *(
        Case(
            f"with user namespaces and a {network} network there is one /dev/net/tun",
            one(f'privateUsers = "pick"; network = "{network}";'),
            '(builtins.length (builtins.filter (line: line == "DeviceAllow=/dev/net/tun rwm") '
            '(lib.splitString "\\n" h.units."container@blog")))',
            1,
        )
        for network in ("private", "host")
    ),
    Case(
        "a range of uids is user namespacing too",
        one('privateUsers = 131072; shares."/srv/a" = { };'),
        "{ inherit (h.containers.blog) privateUsers bindMounts; }",
        {"privateUsers": 131072, "bindMounts": {}},
    ),
    Case(
        "network none has no address, no resolver and no interface",
        one('network = "none";'),
        "{ inherit (h.containers.blog) privateNetwork hostAddress localAddress copyResolvConf; inherit (h.nat) enable; }",
        {"privateNetwork": True, "hostAddress": None, "localAddress": None, "copyResolvConf": False, "enable": False},
    ),
    Case(
        "network private has an address and the host as router",
        one("subnet = 7;"),
        "{ inherit (h.containers.blog) privateNetwork hostAddress localAddress copyResolvConf; inherit (h) nat; }",
        {
            "privateNetwork": True,
            "hostAddress": "10.233.7.1",
            "localAddress": "10.233.7.2",
            "copyResolvConf": True,
            "nat": {"enable": True, "internalIPs": ["10.233.7.2/32"]},
        },
    ),
    Case(
        "two environments with one subnet are told",
        f"({{ ... }}: {{ {ALICE} betterContainers.containers = {{ a.subnet = 7; b.subnet = 7; }}; }})",
        error=("a and b share 10.233.7.0/24",),
    ),
    Case(
        "behind resolved a private network needs name servers",
        one(host="services.resolved.enable = true;"),
        error=("networking.nameservers",),
    ),
    Case(
        "behind resolved a private network asks the host's name servers itself",
        one(host='services.resolved.enable = true; networking.nameservers = [ "9.9.9.9" ];'),
        f"{{ inherit ({GUEST}) nameservers useHostResolvConf; inherit (h.containers.blog) copyResolvConf; }}",
        {"nameservers": ["9.9.9.9"], "useHostResolvConf": False, "copyResolvConf": False},
    ),
    Case(
        "without the Nix daemon its socket is masked and nix is off inside",
        one("nixDaemon = false;"),
        f'{{ flag = builtins.elem "--inaccessible=/nix/var/nix/daemon-socket" h.containers.blog.extraFlags; '
        f"inherit ({GUEST}) nix tmpfiles; }}",
        {"flag": True, "nix": False, "tmpfiles": []},
    ),
    Case(
        "system calls are filtered, each by a flag of its own",
        one('syscallFilter = [ "~@keyring" "~bpf" ];'),
        'lib.filter (lib.hasPrefix "--system-call-filter") h.containers.blog.extraFlags',
        ["--system-call-filter=~@keyring", "--system-call-filter=~bpf"],
    ),
    Case(
        "trap 16 and 19: drivers and fonts are the host's",
        one(
            host="hardware.graphics = { enable = true; extraPackages = [ pkgs.intel-media-driver ]; }; "
            "fonts.packages = [ pkgs.noto-fonts ]; "
        ),
        f"{{ inherit ({GUEST}) graphics fonts; }}",
        {
            "graphics": {
                "enable": True,
                "enable32Bit": False,
                "package": "mesa",
                "extraPackages": ["intel-media-driver"],
            },
            "fonts": ["noto-fonts"],
        },
    ),
    Case(
        "trap 17: the classic file system unshares no pid namespace, and takes a command as it is",
        one('config = isoctl.withFhs [ ]; desktopRunner = "enter-fhs";'),
        "{ inherit (builtins.head h.containers.blog.guest.fhs) unsharePid; "
        'wraps = lib.hasInfix "wrapper = [\\"enter-fhs\\", \\"--\\"]" h.policy."isod/containers/blog.toml".text; }',
        {"unsharePid": False, "wraps": True},
    ),
    Case(
        "a runner with arguments is taken as it is",
        one('desktopRunner = [ "enter-fhs" "--" "nice" ];'),
        "c.services.isod.containers.blog.wrapper",
        ["enter-fhs", "--", "nice"],
    ),
    Case("trap 18: no device of the host is allowed for ever", one("grants.gpu = \"render\";"), "h.containers.blog.allowedDevices", []),
    Case(
        "trap 20 and 21: D-Bus, polkit, units and temporary files come from the package, reloaded rather than restarted",
        one(),
        "{ inherit (h) polkit dbus unitPackages tmpfilesPackages; inherit (h.services.isod) wantedBy stopIfChanged "
        'reloadTriggers; helper = h.sockets.isod-helper.wantedBy; inProfile = builtins.elem "isoctl" h.packages; '
        "inherit (h) groups; }",
        {
            "polkit": True,
            "dbus": ["isoctl"],
            "unitPackages": ["isoctl"],
            "tmpfilesPackages": ["isoctl"],
            "wantedBy": ["multi-user.target"],
            "stopIfChanged": False,
            "reloadTriggers": ["isod-policy"],
            "helper": ["sockets.target"],
            "inProfile": True,
            "groups": ["isoctl"],
        },
    ),
    Case(
        "trap 22: another package inside changes nothing that isod is restarted or reloaded for",
        one(),
        "let of = extra: (look.host (host [ "
        + one("config = { environment.systemPackages = extra; };").replace("{ pkgs, lib, ... }", "{ pkgs, ... }")
        + " ]).config); in (of [ ]).services == (of [ t.pkgs.go ]).services && (of [ ]).checks == (of [ t.pkgs.go ]).checks",
        True,
    ),
    Case(
        "trap 23: stateVersion is the host's",
        one(host='system.stateVersion = "25.05";'),
        f"{GUEST}.stateVersion",
        "25.05",
    ),
    Case(
        "trap 23: unless the container has its own",
        one('config = { system.stateVersion = "24.11"; };'),
        f"{GUEST}.stateVersion",
        "24.11",
    ),
    Case(
        "trap 24: what others set on the container's unit stays",
        one(host='systemd.services."container@blog".serviceConfig.MemoryMax = "4G";'),
        'builtins.length (builtins.filter (line: line == "MemoryMax=4G") (lib.splitString "\\n" h.units."container@blog"))',
        1,
    ),
    Case(
        "policy files are regular files of root, since isod believes no symlink",
        one(),
        "builtins.mapAttrs (_: file: { inherit (file) mode user group; }) h.policy",
        {
            name: {"mode": "0644", "user": "root", "group": "root"}
            for name in ("isod/containers/blog.toml", "isod/isod.toml")
        },
    ),
    Case(
        "the daemon's own loader judges the policy before anything is switched",
        one(),
        'map (text: builtins.match ".*/libexec/isod --check .out.*" (builtins.replaceStrings [ "\\n" ] [ " " ] text) != null) '
        "h.checks",
        [True],
    ),
    Case(
        "a container of others has policy only",
        '{ services.isod.enable = true; containers.web.config = { }; services.isod.containers.web.users = [ "alice" ]; }',
        '{ inherit (h.containers.web) extraFlags bindMounts privateNetwork; '
        'policy = h.policy."isod/containers/web.toml".text; inherit (h) launchers; }',
        {"extraFlags": [], "bindMounts": {}, "privateNetwork": False, "policy": 'users = ["alice"]\n', "launchers": {}},
    ),
    Case(
        "policy of an environment can be changed key by key",
        one(host="services.isod.containers.blog = { start_timeout_sec = 20; on_logout = \"stop\"; };"),
        'h.policy."isod/containers/blog.toml".text',
        'autostart = false\non_logout = "stop"\nstart_timeout_sec = 20\nusers = ["alice"]\n',
    ),
    Case(
        "time-outs: isod does not give up before the unit",
        one("timeoutStartSec = 20;"),
        "{ unit = h.containers.blog.timeoutStartSec; isod = c.services.isod.containers.blog.start_timeout_sec; }",
        {"unit": "20s", "isod": 30},
    ),
    Case(
        "a switch ends nothing that runs in it, and boot does not wait for it",
        one("autoStart = true;"),
        "{ inherit (h.containers.blog) restartIfChanged autoStart; policy = c.services.isod.containers.blog.autostart; }",
        {"restartIfChanged": False, "autoStart": False, "policy": True},
    ),
    Case(
        "a menu of the container's own where one is named",
        one(base='betterContainers.base.desktopLauncher = [ "wofi" "--show" "drun" ];'),
        "{ menu = c.services.isod.containers.blog.menu; "
        'runs = lib.hasInfix "exec isoctl menu blog" h.launchers.blog-launcher; '
        "entry = map (entry: entry.exec) h.desktopEntries; }",
        {"menu": ["wofi", "--show", "drun"], "runs": True, "entry": ["blog-launcher"]},
    ),
    Case(
        "xwayland-satellite is on the host by default",
        one(),
        "h.sessionPath.isod-session",
        ["xwayland-satellite", "xwayland"],
    ),
    Case(
        "the jvm trait smooths fonts",
        one("config = isoctl.traits.jvmDev;"),
        f'lib.hasInfix "-Dawt.useSystemAAFontSettings=on" {GUEST}.variables._JAVA_OPTIONS',
        True,
    ),
    Case(
        "IDEA is idea-community whatever nixpkgs calls it",
        one("config = isoctl.traits.ideaCommunity;"),
        f"{GUEST}.packages",
        ["idea-community", "idea-oss"],
    ),
    Case(
        "packages can be kept with the system",
        one("gcRoots = [ pkgs.hello ];"),
        f"{GUEST}.extraDependencies",
        ["hello"],
    ),
    Case(
        "base is in every environment",
        f"({{ pkgs, ... }}: {{ {ALICE} betterContainers.base.config = [ {{ environment.systemPackages = [ pkgs.jq ]; }} ]; "
        "betterContainers.containers = { a = { }; b.config = { environment.systemPackages = [ pkgs.go ]; }; }; })",
        "builtins.mapAttrs (_: one: one.guest.packages) h.containers",
        {"a": ["jq"], "b": ["go", "jq"]},
    ),
    Case("nothing is there without environments", "{ }", "{ inherit (h) isod packages policy; }",
         {"isod": False, "packages": [], "policy": {}}),
)  # fmt: skip

CASES = (*TYPES_AND_MODULES, *WHAT_IS_GENERATED)
