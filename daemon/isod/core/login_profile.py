"""The environment of an account's login profile, taken from a shell of its own before the command starts.

What a profile does beside setting variables, umask and limits must not touch the command: it may read standard input,
print, change the directory, start another shell in its place, exit, or hang. So the app's main process is a script of
/bin/sh (dash, bash or busybox) that has a child run the profile on streams of its own, and takes over what that tells
at its end. If it tells nothing, the command runs with isod's defaults, after one line on standard error.
"""

import shlex

DEADLINE_SEC = 10
# Fits what a login shell may be asked to read: a question of the profile, and the same again.
_ANSWERS = "\\n" * 8
_END = ": the profile is through"
# What bash sets itself and lets nobody change: an assignment would end a script of its posix mode.
_READ_ONLY = "BASHOPTS BASH_VERSINFO EUID PPID SHELLOPTS UID"
# Its own variables: e what the profile tells, s how that ended, p and r of proc(5), d, t and c the way to the shell.
_OWN = "_ISOCTL_e _ISOCTL_s _ISOCTL_p _ISOCTL_r _ISOCTL_d _ISOCTL_t _ISOCTL_c"
# The letters of ulimit that dash, bash and busybox have, and the two for the number of processes.
_LIMITS = "c d f l m n s t v u p"
_DIRECTORIES = "/run/current-system/sw/bin /usr/bin /bin"

# Said by the login shell at its end, in a /bin/sh that takes its place, as commands for the same /bin/sh. No
# apostrophe and no backslash: it stands between apostrophes for shells as different as fish and zsh. It opens the pipe
# by the process that holds it ($1), so that nothing which the profile leaves behind has it.
_TELL = (
    'exec >"/proc/$1/fd/1";unset PWD OLDPWD SHLVL _;'
    'unset _ISOCTL_u;if [ "${BASH_VERSION-}" ];then case "$(export -p)" in *" UID="*)_ISOCTL_u=UID;;esac;'
    f"command export -n {_READ_ONLY};fi;"
    'export -p;[ -z "${_ISOCTL_u-}" ]||echo "export $_ISOCTL_u";'
    'echo "umask $(umask)";'
    f"for one in {_LIMITS};do ulimit -S$one >/dev/null 2>&1&&for kind in S H;do "
    'printf "ulimit -$kind$one ";ulimit -$kind$one;done;done;'
    f'echo "{_END}"'
)


def script(shell: str, account: str, container: str, fallback_path: str) -> str:
    """Give the part of a script of /bin/sh that takes over the environment of a login shell's profile.

    It changes no positional parameter, and leaves none of its own variables behind.
    """
    # The same twice: a shell that the profile put in its place knows nothing of -c, and reads its standard input.
    tell = f"exec /bin/sh -c '{_TELL}' sh "
    begin = f"{shlex.quote(shell)} -l -c"
    return (
        # Unset first: a variable that is exported from outside would be so with the value of here.
        f"unset {_OWN};"
        # The subshell is the one whose standard output is the pipe; of its own number it knows by proc(5) alone.
        "_ISOCTL_e=$({ read -r _ISOCTL_p _ISOCTL_r </proc/self/stat;"
        # busybox has no --foreground, and needs none. Without timeout(1) there is no deadline.
        f"for _ISOCTL_d in {_DIRECTORIES};do if [ -x $_ISOCTL_d/timeout ];then "
        f'_ISOCTL_t="$_ISOCTL_d/timeout -s KILL --foreground {DEADLINE_SEC}";'
        "[ ! $_ISOCTL_d/timeout -ef $_ISOCTL_d/busybox ]||"
        f'_ISOCTL_t="$_ISOCTL_d/timeout -s KILL {DEADLINE_SEC}";break;fi;done;'
        f"_ISOCTL_c={shlex.quote(tell)}$_ISOCTL_p;"
        f'printf \'{_ANSWERS}%s\\n\' "$_ISOCTL_c"|${{_ISOCTL_t-}} {begin} "$_ISOCTL_c" >/dev/null;}} 2>/dev/null);'
        "_ISOCTL_s=$?;"
        f'case $_ISOCTL_e in *"{_END}")'
        'eval "$_ISOCTL_e" >/dev/null 2>&1;'
        # `tty` saw the pipe; many profiles have this line, as gpg-agent(1) wants it.
        'case ${GPG_TTY-} in ""|/*);;*)if [ -t 0 ];then GPG_TTY=$(tty);else unset GPG_TTY;fi;;esac'
        f";;*)export PATH={shlex.quote(fallback_path)};"
        f"if [ $_ISOCTL_s = 137 ];then _ISOCTL_s={shlex.quote(f'took over {DEADLINE_SEC} s')};"
        "else _ISOCTL_s='ended before it was through';fi;"
        f"printf 'isoctl: the login profile of %s %s; the command runs with the default environment\\n' "
        f'{shlex.quote(f"{account} in {container}")} "$_ISOCTL_s" >&2;;'
        f"esac;unset {_OWN};export PWD;"
    )
