"""What users of NixOS's containers reported, by the number of the report (R-30 and later)."""

from case import ALICE, GUEST, HM, Case, one

_FORWARD = 'builtins.replaceStrings [ "\\n" ] [ ";" ] h.forward'

CASES = (
    Case(
        "R-31: a host without a Nix daemon has the directory that NixOS binds into each container",
        one(host="nix.enable = false;"),
        "h.tmpfiles",
        ["d /nix/var/nix/daemon-socket 0755 root root -"],
    ),
    Case(
        "R-31: a daemon that the host does not have is told",
        one("nixDaemon = true;", host="nix.enable = false;"),
        error=("nixDaemon is true, but this host has no Nix daemon", "leave it out"),
    ),
    Case(
        "R-31: Home Manager without a Nix daemon is told",
        one(base=HM, host="nix.enable = false;"),
        error=("this host has no Nix daemon", "homeManager.module"),
    ),
    Case(
        "R-33: nix that is off names the option that turns it on",
        one("nixDaemon = false;"),
        f"map (text: lib.hasInfix \"betterContainers.containers.blog.nixDaemon = true;\" text && lib.hasInfix \"exit 127\" text) {GUEST}.nixIsOff",
        [True] * 4,
    ),
    Case("R-33: nix that is there is not covered", one("nixDaemon = true;"), f"{GUEST}.nixIsOff", []),
    *(
        Case(
            f"R-33: the reason against {path} names no grant that takes no value",
            one(f'shares."{path}" = {{ }};'),
            error=("can't be shared", words),
        )
        for path, words in (("/run/user/1000", "grant wayland or x11 instead."), ("/tmp/.X11-unix", "grant x11 instead."))
    ),
    Case(
        "R-34: NetworkManager leaves the links of containers alone",
        one(),
        "h.unmanaged",
        ["interface-name:ve-*"],
    ),
    Case(
        "R-34: where no container has a link nothing is said to NetworkManager, nat and firewall",
        one('network = "none";'),
        "{ inherit (h) unmanaged forward; }",
        {"unmanaged": [], "forward": {"extraCommands": "", "extraForwardRules": "", "extraStopCommands": ""}},
    ),
    Case(
        "R-35: what containers send is forwarded though docker drops what it does not know",
        one("subnet = 7;"),
        f"{_FORWARD}.extraCommands",
        "iptables -w -N isod-forward;"
        "iptables -w -A isod-forward -s 10.233.7.2 -j ACCEPT;"
        "iptables -w -A isod-forward -d 10.233.7.2 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT;"
        "iptables -w -I FORWARD -j isod-forward;",
    ),
    Case(
        "R-35: a firewall that filters what is forwarded by nft lets it through",
        one("subnet = 7;", host="networking.nftables.enable = true;"),
        "h.forward",
        {"extraCommands": "", "extraForwardRules": "ip saddr 10.233.7.2 accept\n", "extraStopCommands": ""},
    ),
    *(
        Case(
            f"R-37: {what} can't be reached from a network of its own",
            one(host=host),
            error=('network is "private"', "listens on the host's loopback only", "networking.nameservers"),
        )
        for what, host in (
            ("resolved", "services.resolved.enable = true;"),
            ("dnsmasq, unbound or bind", "networking.resolvconf.useLocalResolver = true;"),
            ("a resolver at 127.0.0.1", 'networking.nameservers = [ "127.0.0.1" ];'),
            ("a resolver at ::1", 'networking.nameservers = [ "::1" ];'),
        )
    ),
    *(
        Case(
            f"R-37: beside {what} the others are asked from inside",
            one(host=host),
            f"{{ inherit ({GUEST}) nameservers useHostResolvConf; inherit (h.containers.blog) copyResolvConf; }}",
            {"nameservers": ["9.9.9.9"], "useHostResolvConf": False, "copyResolvConf": False},
        )
        for what, host in (
            ("dnsmasq", 'networking.resolvconf.useLocalResolver = true; networking.nameservers = [ "9.9.9.9" ];'),
            ("127.0.0.1", 'networking.nameservers = [ "127.0.0.1" "9.9.9.9" ];'),
        )
    ),
    Case("R-37: the host's network has the host's loopback", one('network = "host";', host="networking.resolvconf.useLocalResolver = true;"), "h.toplevel", "nixos-system-nixos"),
    Case(
        "R-38: a resolv.conf that changes is copied into containers that run, each by itself",
        f"({{ ... }}: {{ {ALICE} betterContainers.containers = {{ a = {{ }}; b.network = \"host\"; c.network = \"none\"; }}; }})",
        "{ inherit (h.resolvConf.isod-resolv-conf) wantedBy pathConfig; "
        'each = lib.hasInfix "for name in a b; do" h.resolvConf.isod-resolv-conf.script; '
        'bounded = lib.hasInfix "timeout -k 1 10 systemd-run --machine=\\"$name\\"" '
        "h.resolvConf.isod-resolv-conf.script; "
        'told = lib.hasInfix "echo \\"$name: its /etc/resolv.conf was not written" h.resolvConf.isod-resolv-conf.script; '
        # Which has machined open what is inside.
        'copied = lib.hasInfix "copy-to" h.resolvConf.isod-resolv-conf.script; }',
        {
            "wantedBy": ["multi-user.target"],
            "pathConfig": {"PathChanged": "/etc/resolv.conf"},
            "each": True,
            "bounded": True,
            "told": True,
            "copied": False,
        },
    ),
    Case(
        "R-38: resolved's address stays, so nothing is copied",
        one('network = "host";', host="services.resolved.enable = true;"),
        "h.resolvConf",
        {},
    ),
    Case(
        "R-39: directories above a share in the home are the user's",
        one(
            'shares."/srv/a".mountPoint = "/home/alice/.config/JetBrains"; shares."/srv/b".mountPoint = "/home/alice/src/x/y"; '
            'shares."/srv/c".mountPoint = "/home/alice/direct"; shares."/srv/d".mountPoint = "/srv/e/f"; '
            'shares."/srv/g".mountPoint = "/home/alicex/h/i";'
        ),
        f"{GUEST}.tmpfiles",
        [
            "d /home/alice/.config 0755 alice users -",
            "d /home/alice/src 0755 alice users -",
            "d /home/alice/src/x 0755 alice users -",
        ],
    ),
)  # fmt: skip
