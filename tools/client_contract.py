"""The part of the contract that isoctl needs while it starts, as a module without imports."""

from typing import Any

from isod_contract import VERSION, errors, limits, names, options, states

HEADER = '''"""What isoctl needs of the contract, without its imports; made by tools/generate_client.py, not by hand."""
'''

OPTION_CLASSES: dict[str, type[Any]] = {
    "run": options.RunOptions,
    "container": options.ContainerOptions,
    "log": options.LogOptions,
    "history": options.HistoryFilter,
    "explain": options.ExplainOptions,
    "reload": options.ReloadOptions,
}


def flags_of(options_class: type[Any]) -> list[tuple[str, str, tuple[str, ...], str, str]]:
    """Give (wire key, signature, spellings, metavar, doc) of each option that has a flag."""
    return [
        (key, wire.signature, tuple(wire.flags), wire.metavar, wire.doc)
        for key, wire in options.wire_options(options_class).items()
        if wire.flags
    ]


def constants() -> dict[str, object]:
    """Give name and value of all constants of the module, in order."""
    return {
        "VERSION": VERSION,
        "BUS_NAME": names.BUS_NAME,
        "ROOT_PATH": names.ROOT_PATH,
        "MANAGER": names.MANAGER,
        "CONTAINER": names.CONTAINER,
        "APP": names.APP,
        "SESSION": names.SESSION,
        "SESSION_PATH": names.SESSION_PATH,
        "PROPERTIES": names.PROPERTIES,
        "CONTAINER_PATH_PREFIX": names.CONTAINER_PATH_PREFIX,
        "APP_PATH_PREFIX": names.APP_PATH_PREFIX,
        "ERROR_PREFIX": errors.PREFIX,
        "EXIT_CODES": {
            errors.PREFIX + name: error.exit_code
            for name, error in sorted(errors.IsodError.registry.items())
            if error.exit_code != 1
        },
        "ENDED": tuple(sorted(str(state) for state in states.ENDED)),
        "POLKIT_TIMEOUT_SEC": limits.POLKIT_TIMEOUT_SEC,
        "CLIPBOARD_BYTES_MAX": limits.CLIPBOARD_BYTES_MAX,
        "CLIPBOARD_TIMEOUT_SEC": limits.CLIPBOARD_TIMEOUT_SEC,
        "HINT_NAMES": tuple(sorted(options.HINT_NAMES)),
        "CHOICES": {"display": options.DISPLAY_MODES},
    }


def literal(value: object, indent: str = "") -> str:
    """Write a constant as source text, one element a line, as the formatter would."""
    deeper = indent + "    "
    if isinstance(value, dict):
        lines = [f"{deeper}{literal(key)}: {literal(item, deeper)},\n" for key, item in value.items()]
        return "{\n" + "".join(lines) + indent + "}"
    if isinstance(value, list | tuple):
        if not value:
            return "()"
        return "(\n" + "".join(f"{deeper}{literal(item, deeper)},\n" for item in value) + indent + ")"
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return repr(value)


def module_text() -> str:
    """Give the whole module."""
    flags = {name: flags_of(options_class) for name, options_class in OPTION_CLASSES.items()}
    parts = [HEADER]
    parts += [f"{name} = {literal(value)}\n" for name, value in constants().items()]
    parts.append("FLAGS: dict[str, tuple[tuple[str, str, tuple[str, ...], str, str], ...]] = " + literal(flags) + "\n")
    return "\n".join([parts[0], "".join(parts[1:])])
