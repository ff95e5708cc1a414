"""Write into docs/threat-model.md the tests of each class of attack, which name their classes by a mark.

`--check` writes nothing and fails if the page differs from what would be written.
"""

import ast
import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tools")]

from generated_files import update  # noqa: E402 - the path comes first

PAGE = "docs/threat-model.md"
_SECTION = re.compile(r"^## (C\d\d) ", re.MULTILINE)
_TESTS_LINE = re.compile(r"^- `tests/.*\n", re.MULTILINE)


def _marks(function: ast.AST) -> Iterator[str]:
    for node in getattr(function, "decorator_list", ()):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.attack":
            yield from (str(ast.literal_eval(argument)) for argument in node.args)


def attack_tests() -> dict[str, dict[str, list[str]]]:
    """Give, by class of attack and file, the names of the tests that have its mark."""
    found: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for node in ast.parse(path.read_text()).body:
            for name in _marks(node):
                found[name][str(path.relative_to(ROOT))].append(getattr(node, "name", ""))
    return found


def page() -> str:
    """Give the page with the lines of tests as the marks are now; raises ValueError for a class without a section."""
    text = _TESTS_LINE.sub("", (ROOT / PAGE).read_text())
    tests = attack_tests()
    head, *parts = _SECTION.split(text)
    names = parts[::2]
    unknown = tests.keys() - set(names)
    if unknown:
        raise ValueError(f"{PAGE} has no section for {', '.join(sorted(unknown))}")
    sections = [head]
    for name, body in zip(names, parts[1::2], strict=True):
        lines = [f"- `{file}`: {', '.join(f'`{test}`' for test in found)}\n" for file, found in tests[name].items()]
        sections.append(f"## {name} {body.rstrip()}\n{''.join(lines)}\n")
    return "".join(sections).rstrip() + "\n"


def main(arguments: list[str]) -> int:
    """Generate, or check with `--check`; 1 if a check found a difference."""
    check = arguments == ["--check"]
    if arguments and not check:
        sys.stderr.write("usage: generate_threat_model.py [--check]\n")
        return 2
    return 0 if update({PAGE: page}, check=check) or not check else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
