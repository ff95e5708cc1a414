"""What `--help` prints, from the table of verbs."""

from isoctl.verbs import VERBS, Verb


def overview() -> str:
    """Give the page of all verbs."""
    lines = ["isoctl: run apps in isolated containers", "", "usage: isoctl VERB [FLAGS] [NAME] ...", ""]
    lines += [f"  {', '.join((verb.name, *verb.aliases)):16} {verb.summary}" for verb in VERBS]
    lines += ["", f"  {'--version, -V':16} Show the version of isoctl", f"  {'--help, -h':16} Show this help"]
    return "\n".join(
        [*lines, "", "`isoctl VERB --help` shows flags and examples. `isoctl list` shows your containers."]
    )


def of_verb(verb: Verb) -> str:
    """Give the page of one verb."""
    lines = [f"usage: isoctl {verb.name} [FLAGS] {verb.operands}".rstrip(), "", verb.summary + ".", ""]
    for flag in verb.flags():
        spelling = ", ".join(flag.spellings) + (f" {flag.metavar}" if flag.metavar else "")
        lines.append(f"  {spelling:28} {flag.doc}")
    if verb.examples:
        lines += ["", "examples:"]
        lines += [f"  {line}" + (f"   # {doc}" if doc else "") for line, doc in verb.examples]
    return "\n".join(lines)
