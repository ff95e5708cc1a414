"""Completion of isoctl for bash, zsh and fish, from its table of verbs."""

from isoctl.verbs import VERBS, Flag, Verb

_CONTAINER_VERBS = [verb for verb in VERBS if "NAME" in verb.operands]


def _names(verbs: list[Verb]) -> list[str]:
    return [name for verb in verbs for name in (verb.name, *verb.aliases)]


def _flags(verb: Verb) -> list[str]:
    return [spelling for flag in verb.flags() for spelling in flag.spellings]


def bash() -> str:
    """Give the script for bash."""
    cases = "".join(
        f'        {"|".join((verb.name, *verb.aliases))}) flags="{" ".join(_flags(verb))}" ;;\n' for verb in VERBS
    )
    return f"""# Completion of isoctl for bash; made by tools/generate_client.py.
_isoctl() {{
    local word=${{COMP_WORDS[COMP_CWORD]}} verb=${{COMP_WORDS[1]}} flags= names=
    if [ "$COMP_CWORD" = 1 ]; then
        mapfile -t COMPREPLY < <(compgen -W "{" ".join(_names(list(VERBS)))}" -- "$word")
        return
    fi
    case $verb in
{cases}    esac
    case $verb in
        {"|".join(_names(_CONTAINER_VERBS))}) names=$(isoctl __complete containers 2>/dev/null) ;;
        kill) names=$(isoctl __complete apps 2>/dev/null) ;;
    esac
    mapfile -t COMPREPLY < <(compgen -W "$flags $names" -- "$word")
}}
complete -F _isoctl isoctl
"""


def _zsh_item(name: str, text: str) -> str:
    item = f"{name}:{text}".replace("'", "'\\''")
    return f"'{item}'"


def _fish_text(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def zsh() -> str:
    """Give the function for zsh."""
    verbs = "\n".join(f"    {_zsh_item(verb.name, verb.summary)}" for verb in VERBS)
    flags = "\n".join(
        f"    {'|'.join((verb.name, *verb.aliases))}) flags=("
        + " ".join(_zsh_item(spelling, flag.doc) for flag in verb.flags() for spelling in flag.spellings)
        + ") ;;"
        for verb in VERBS
    )
    return f"""#compdef isoctl
# Completion of isoctl for zsh; made by tools/generate_client.py.
local -a verbs names flags
verbs=(
{verbs}
)
if (( CURRENT == 2 )); then
    _describe verb verbs
    return
fi
case $words[2] in
{flags}
esac
if [[ $words[CURRENT] == -* ]]; then
    _describe -o flag flags
    return
fi
case $words[2] in
    {"|".join(_names(_CONTAINER_VERBS))}) names=(${{(f)"$(isoctl __complete containers 2>/dev/null)"}}) ;;
    kill) names=(${{(f)"$(isoctl __complete apps 2>/dev/null)"}}) ;;
esac
compadd -a names
"""


def _fish_flag(verb: Verb, flag: Flag) -> str:
    condition = f"__fish_seen_subcommand_from {' '.join((verb.name, *verb.aliases))}"
    spellings = " ".join(
        f"-l {spelling[2:]}" if spelling.startswith("--") else f"-s {spelling[1:]}" for spelling in flag.spellings
    )
    takes_value = " -x" if flag.metavar else ""
    return f"complete -c isoctl -n '{condition}' {spellings}{takes_value} -d {_fish_text(flag.doc)}"


def fish() -> str:
    """Give the script for fish."""
    lines = ["# Completion of isoctl for fish; made by tools/generate_client.py.", "complete -c isoctl -f"]
    for verb in VERBS:
        lines.append(f"complete -c isoctl -n __fish_use_subcommand -a {verb.name} -d {_fish_text(verb.summary)}")
        lines += [_fish_flag(verb, flag) for flag in verb.flags()]
    names = " ".join(_names(_CONTAINER_VERBS))
    condition = "__fish_seen_subcommand_from"
    lines.append(f"complete -c isoctl -n '{condition} {names}' -a '(isoctl __complete containers 2>/dev/null)'")
    lines.append(f"complete -c isoctl -n '{condition} kill' -a '(isoctl __complete apps 2>/dev/null)'")
    return "\n".join(lines) + "\n"
