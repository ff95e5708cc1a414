"""What users of other tools type, and what isoctl has in its place; loaded only where a command line is wrong."""

from isoctl.verbs import VERBS

_FLAGS = {
    ("-i", "--interactive"): "leave it out: standard input is always connected",
    ("--tty",): "it is -t here, and needed only if standard streams are redirected",
    ("--rm",): "leave it out: an app leaves nothing to remove; `isoctl stop` ends the container",
    ("--name",): "the name of the container stands alone, before the command",
    ("--workdir", "--cwd", "-C", "-D"): "it is -w here",
    ("--env-file",): "give each variable with -e",
    ("-v", "--volume", "--mount", "--bind"): "directories are settings of the container: Bind= in systemd.nspawn(5)",
    ("-p", "--publish", "--net", "--network"): "the network is a setting of the container: systemd.nspawn(5)",
    ("--device", "--gpus", "--privileged"): "devices are granted by policy, or by `isoctl grant`",
    ("-M", "--machine"): "the name of the container stands alone, before the command",
    ("--uid",): "it is -u here, or USER@NAME",
}
_VERBS = {
    "attach": "shell",
    "login": "shell",
    "ssh": "shell",
    "stats": "top",
    "inspect": "status",
    "show": "status",
    "poweroff": "stop",
    "terminate": "stop",
    "reboot": "restart",
    "journal": "logs",
    "log": "logs",
    "check": "doctor",
}


def of_flag(verb: str, spelling: str) -> str:
    """Say what there is in place of a flag of docker, podman, machinectl; "" for one that nobody has."""
    if verb not in ("run", "shell"):
        return ""
    return next((text for spellings, text in _FLAGS.items() if spelling in spellings), "")


def of_verb(untrusted_name: str) -> str:
    """Give the verb that is meant by one of another tool, or by a slip of the finger; "" for none."""
    if untrusted_name in _VERBS:
        return _VERBS[untrusted_name]
    from difflib import get_close_matches

    known = [name for verb in VERBS for name in (verb.name, *verb.aliases)]
    return next(iter(get_close_matches(untrusted_name, known, 1, 0.75)), "")
