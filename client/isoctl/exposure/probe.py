"""The probe: what runs inside, as an app of the caller's, and writes down what it can reach.

It needs /bin/sh alone, and says more where python3 or perl is: only they can connect to every kind of socket. It judges
nothing; it writes lines of fields with tabs between them, the first of which says what the others are:

    start                             from here on it is the probe that speaks, not a login profile
    id UID                            of the app
    net TEXT                          its network namespace, as /proc/self/ns/net names it
    tool NAME                         what connects: python3, perl, none
    status NAME VALUE                 a line of /proc/self/status
    map INSIDE OUTSIDE COUNT          a line of /proc/self/uid_map
    own INODE                         a socket that a process of the app's user holds
    mount yes|no LINE                 a line of /proc/self/mountinfo, and whether it can be written there
    try OP KEY ADDRESS                something that may be reachable; the next line tells, if anything can try
    hit OP KEY RESULT PID HEX         ok or an errno; pid of the peer, 0 for one outside of the container; its answer
    done                              nothing was cut off

OP is o (open a device), u (socket in a file system), a and A (abstract socket, stream or seqpacket), 4 and 6 (TCP).
"""

from isoctl.exposure import protocols

TARGETS_MAX = 600

_SH = r"""
PATH=$PATH:/run/current-system/sw/bin:/usr/local/bin:/usr/bin:/bin
LC_ALL=C
python=$1 perl=$2
set -f
tab=$(printf '\t')
# bash reads ahead and seeks back to the end of a line, which by then is elsewhere in a table that changes: lines would
# be lost, and others made up. So a table is read whole first.
read_table() {
    if [ "${BASH_VERSION-}" ]; then
        eval 'table=$(<"$1")'
    else
        table=$(while read -r line; do printf '%s\n' "$line"; done <"$1")
    fi 2>/dev/null
}

printf 'start\n'
printf 'id\t%s\n' "$(id -u)"
printf 'net\t%s\n' "$(readlink /proc/self/ns/net)"
while read -r name value; do
    case $name in CapEff:|CapBnd:) printf 'status\t%s\t%s\n' "${name%:}" "$value" ;; esac
done </proc/self/status
while read -r inside outside count; do
    printf 'map\t%s\t%s\t%s\n' "$inside" "$outside" "$count"
done </proc/self/uid_map
set +f
ls -l /proc/[0-9]*/fd 2>/dev/null | while read -r line; do
    case $line in *' socket:['*) line=${line##*socket:\[}; printf 'own\t%s\n' "${line%\]}" ;; esac
done
set -f

tool=none
if command -v python3 >/dev/null && python3 -c 1 2>/dev/null; then
    tool=python3
elif command -v perl >/dev/null && perl -MSocket -e 1 2>/dev/null; then
    tool=perl
fi
printf 'tool\t%s\n' $tool

bounded() { while [ $((n = n + 1)) -le @targets@ ] && IFS= read -r line; do printf '%s\n' "$line"; done; }
target() { printf '%s\t%s\t%s\t%s\n' "$@"; }
sockets() { for path; do [ -S "$path" ] && target u 0 "$path" "$request"; done; }
nodes() { for path; do [ ! -h "$path" ] && { [ -c "$path" ] || [ -b "$path" ]; } && target o 0 "$path" ''; done; }

known_places() {
    case ${WAYLAND_DISPLAY-} in /*) request=@wayland@ && sockets "$WAYLAND_DISPLAY" ;; esac
    request=@nix@ && sockets /nix/var/nix/daemon-socket/socket
    set +f
    request=@x11@ && sockets /tmp/.X11-unix/*
    request= && sockets /run/docker.sock /run/podman/*.sock /run/libvirt/*-sock /run/containerd/*.sock
    request= && sockets /run/user/*/* /run/host/*
    nodes /dev/* /dev/*/* /dev/*/*/*
    set -f
}

abstract_sockets() {
    read_table /proc/net/unix
    while read -r _ _ _ flags type _ inode path; do
        [ "$flags" = 00010000 ] || continue  # it listens
        case $type in 0001) op=a ;; 0005) op=A ;; *) continue ;; esac
        case $path in
            @/tmp/.X11-unix/*) target $op "$inode" "$path" @x11@ ;;
            @*) target $op "$inode" "$path" '' ;;
        esac
    done <<END
$table
END
}

loopback() {
    # the address is hexadecimal, its bytes the other way round
    read_table /proc/net/tcp
    while read -r _ local _ state _ _ _ _ _ inode _; do
        a=${local%:*}
        case $state$a in 0A00000000) a=0100007F ;; 0A??????7F) ;; *) continue ;; esac
        d=${a%??????} c=${a#??} b=${a#????} a=${a#??????}
        target 4 "$inode" $((0x$a)).$((0x${b%??})).$((0x${c%????})).$((0x$d)):$((0x${local#*:})) ''
    done <<END
$table
END
    read_table /proc/net/tcp6
    while read -r _ local _ state _ _ _ _ _ inode _; do
        case $state$local in
            0A00000000000000000000000000000000:* | 0A00000000000000000000000001000000:*)
                target 6 "$inode" "[::1]:$((0x${local#*:}))" '' ;;
        esac
    done <<END
$table
END
}

along_with_directories() {
    while read -r _ _ _ source place _; do
        case $place in / | /proc* | /sys* | /dev* | /run/isoctl* | /tmp/.X11-unix) continue ;; esac
        [ "$source" = / ] && continue
        place=$(printf '%b' "$place")
        set +f
        request= && sockets "$place" "$place"/* "$place"/*/*
        set -f
    done <<END
$mounts
END
}

# what weighs most comes first, if it gets too much
targets() { known_places; abstract_sockets; loopback; along_with_directories; }

read_table /proc/self/mountinfo
mounts=$table
while read -r line; do
    set -- $line
    writable=no
    [ -w "$(printf '%b' "${5-}")" ] && writable=yes
    printf 'mount\t%s\t%s\n' $writable "$line"
done <<END
$mounts
END

n=0
case $tool in
    python3) targets | bounded | python3 -c "$python" ;;
    perl) targets | bounded | perl -e "$perl" ;;
    none) targets | bounded | while IFS=$tab read -r op key address _; do
              printf 'try\t%s\t%s\t%s\n' "$op" "$key" "$address"
          done ;;
esac
printf 'done\n'
"""

_PYTHON = r"""
import os, socket, struct, sys
def say(*fields):
    sys.stdout.buffer.write(b"\t".join(fields) + b"\n")
    sys.stdout.buffer.flush()
def attempt(op, address, send):
    if op == b"o":
        flags = os.O_NONBLOCK | os.O_NOCTTY
        try:
            os.close(os.open(address, os.O_RDWR | flags))
        except OSError:
            os.close(os.open(address, os.O_RDONLY | flags))
        return -1, b""
    family = {b"4": socket.AF_INET, b"6": socket.AF_INET6}.get(op, socket.AF_UNIX)
    with socket.socket(family, socket.SOCK_SEQPACKET if op == b"A" else socket.SOCK_STREAM) as peer:
        peer.settimeout(1)
        if family == socket.AF_UNIX:
            peer.connect(b"\0" + address[1:] if op in b"aA" else address)
            pid = struct.unpack("3i", peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]
        else:
            host, _, port = address.decode().rpartition(":")
            peer.connect((host.strip("[]"), int(port)))
            pid = -1
        got = b""
        if send:
            try:
                peer.sendall(bytes.fromhex(send.decode()))
                while len(got) < 65536 and (piece := peer.recv(65536)):
                    got += piece
            except OSError:
                pass
        return pid, got[:65536]
for line in sys.stdin.buffer:
    try:
        op, key, address, send = line.rstrip(b"\n").split(b"\t")
    except ValueError:
        continue
    say(b"try", op, key, address)
    try:
        if b"watchdog" in address and op == b"o":
            continue
        pid, got = attempt(op, address, send)
        result = "ok"
    except (OSError, ValueError) as error:
        pid, got, result = -1, b"", str(getattr(error, "errno", None) or 0)
    say(b"hit", op, key, result.encode(), str(pid).encode(), got.hex().encode())
"""

_PERL = r"""
use Socket; use Fcntl; $| = 1; $SIG{PIPE} = "IGNORE";
sub attempt {
    my ($op, $address, $send) = @_; my ($pid, $got) = (-1, "");
    if ($op eq "o") {
        my $flags = O_NONBLOCK | O_NOCTTY;
        sysopen(my $file, $address, O_RDWR | $flags) || sysopen($file, $address, O_RDONLY | $flags) || return ($!+0);
        return ("ok", $pid, $got);
    }
    my ($family, $place) = (AF_UNIX);
    if ($op eq "4") { my ($ip, $port) = split /:/, $address; $family = AF_INET;
        $place = pack_sockaddr_in($port, inet_aton($ip)) }
    elsif ($op eq "6") { my ($port) = $address =~ /:(\d+)$/; $family = AF_INET6;
        $place = pack("S n N a16 N", AF_INET6, $port, 0, ("\0" x 15) . "\1", 0) }
    else { my $name = $op eq "u" ? $address : "\0" . substr($address, 1); $place = pack("S a*", AF_UNIX, $name) }
    socket(my $peer, $family, $op eq "A" ? 5 : SOCK_STREAM, 0) || return ($!+0);
    eval { local $SIG{ALRM} = sub { die }; alarm 2; connect($peer, $place) || die $!+0, "\n"; alarm 0; 1 }
        || do { alarm 0; return ($@ =~ /^(\d+)\n/ ? $1 : 110) };
    if ($family == AF_UNIX) { my $cred = getsockopt($peer, SOL_SOCKET, 17); $pid = unpack("i", $cred) if $cred }
    if ($send ne "") {
        eval { local $SIG{ALRM} = sub { die }; alarm 2; syswrite($peer, pack("H*", $send));
            while (length($got) < 65536 && sysread($peer, my $piece, 65536)) { $got .= $piece; alarm 2 } alarm 0; 1 };
        alarm 0;
    }
    return ("ok", $pid, substr($got, 0, 65536));
}
while (my $line = <STDIN>) {
    chomp $line; my ($op, $key, $address, $send) = split /\t/, $line, 4;
    next unless defined $send;
    print join("\t", "try", $op, $key, $address), "\n";
    next if $op eq "o" && $address =~ /watchdog/;
    my ($result, $pid, $got) = attempt($op, $address, $send);
    print join("\t", "hit", $op, $key, $result, $pid // -1, unpack("H*", $got // "")), "\n";
}
"""


def command() -> list[str]:
    """Give the argument vector of the probe."""
    script = _SH.replace("@targets@", str(TARGETS_MAX))
    for name, request in (
        ("@wayland@", protocols.WAYLAND_REQUEST),
        ("@nix@", protocols.NIX_REQUEST),
        ("@x11@", protocols.X11_REQUEST),
    ):
        script = script.replace(name, request.hex())
    return ["sh", "-c", script, "sh", _PYTHON, _PERL]
