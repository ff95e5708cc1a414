"""The network of a container, and its names: an address, a way out and back, somebody who answers."""

from collections.abc import Iterator

from isod.checks.facts import ContainerFacts
from isod.survey_ports import Network, Resolver
from isod_contract.findings import Problem, check


def _network(facts: ContainerFacts) -> Network:
    return facts.running.inside.network if facts.running else Network()


@check("network-no-address", "nothing in it reaches any network")
def network_no_address(facts: ContainerFacts) -> Iterator[Problem]:
    """Report a network of its own whose interface got no address, the usual end of --network-veth without DHCP."""
    if _network(facts).without_address:
        names = ", ".join(_network(facts).without_address)
        yield Problem(
            f"its interface {names} has no address",
            f"`systemctl enable --now systemd-networkd && systemctl -M {facts.machine} enable --now systemd-networkd` "
            "has networkd serve and take one; NixOS: hostAddress and localAddress of the container",
        )


@check("network-no-route", "nothing in it reaches more than its own link")
def network_no_route(facts: ContainerFacts) -> Iterator[Problem]:
    """Report a network of its own that has an address and no default route."""
    network = _network(facts)
    if network.is_own and network.has_address and not network.has_route_out:
        yield Problem(
            "its network has an address and no default route",
            f"`{facts.inside} ip route add default via ADDRESS`, with the host's address on that link; for good: "
            "Gateway= in its systemd.network(5); NixOS: hostAddress of the container",
        )


@check("link-unaddressed", "no answer finds its way back to the container")
def link_unaddressed(facts: ContainerFacts) -> Iterator[Problem]:
    """Report the host's end of a link that has lost its address: NetworkManager takes what it finds."""
    name = _network(facts).unaddressed_peer
    if name:
        yield Problem(
            f"the host's end of its link, {name}, has no address, as when NetworkManager takes it",
            f"`isoctl restart {facts.name}` gives it one, after `unmanaged-devices=interface-name:ve-*` below "
            "[keyfile] in /etc/NetworkManager/conf.d/isod.conf and `systemctl reload NetworkManager`; NixOS: "
            'networking.networkmanager.unmanaged = [ "interface-name:ve-*" ];',
        )


def _resolver(facts: ContainerFacts) -> Resolver:
    places = facts.running.places if facts.running else None
    return (places.resolver if places else None) or Resolver()


@check("nameserver-dead", "no name resolves in it")
def nameserver_dead(facts: ContainerFacts) -> Iterator[Problem]:
    """Report name servers of a container, all on its own loopback, at which nobody listens."""
    resolver, network = _resolver(facts), _network(facts)
    if network.has_route_out and resolver.servers and set(resolver.servers) == set(resolver.silent):
        yield Problem(
            f"/etc/resolv.conf inside has it ask {', '.join(resolver.servers)}, where nobody listens in its network",
            f"`{facts.inside} sh -c 'echo nameserver ADDRESS > /etc/resolv.conf'`, with one that it reaches; NixOS: "
            "networking.nameservers",
        )


@check("resolv-stale", "names resolve as they did when it started, or no more")
def resolv_stale(facts: ContainerFacts) -> Iterator[Problem]:
    """Report a copy of the host's resolv.conf, made by nspawn at its start, that the host has changed since."""
    resolver = _resolver(facts)
    if resolver.hosts_servers:
        yield Problem(
            f"it asks {', '.join(resolver.servers)} for names, and the host by now {', '.join(resolver.hosts_servers)}",
            f"`isoctl restart {facts.name}` copies the host's file anew; for good, run systemd-resolved on the host, "
            "whose address never changes (`systemctl enable --now systemd-resolved`)",
        )


@check("hostname-unresolved", "sudo, Java and mail programs wait for its name or fail")
def hostname_unresolved(facts: ContainerFacts) -> Iterator[Problem]:
    """Report a container in which nothing knows its own name."""
    name = facts.running.places.unresolved_name if facts.running else ""
    if name:
        yield Problem(
            f"nothing inside resolves its own name, {name}: not /etc/hosts, nor a module of /etc/nsswitch.conf",
            f"`{facts.inside} sh -c 'echo \"127.0.1.1 $(hostname)\" >> /etc/hosts'`, or install libnss-myhostname",
        )


@check("sandbox-no-proc", "programs that sandbox themselves fail: Flatpak, Steam, bwrap with --unshare-pid")
def sandbox_no_proc(facts: ContainerFacts) -> Iterator[Problem]:
    """Report a container with bubblewrap in which no user namespace may mount a /proc, as systemd-nspawn leaves it."""
    running = facts.running
    if running is not None and running.places.proc_is_masked and "bwrap" in running.inside.present:
        yield Problem(
            "bwrap is there, and can mount no /proc of its own: systemd-nspawn covers parts of this one",
            "have it take this one: `bwrap --bind /proc /proc`, no --unshare-pid; Flatpak and Steam run on the host",
        )
