"""For all tests: signals as a program gets them at a terminal, and the table that `make test-security` prints."""

import signal
from collections import defaultdict
from collections.abc import Callable, Iterator

import pytest

# What is ignored here would be so in every program that a test starts. A shell starts its background jobs with these
# two ignored, nohup with HUP: that one has a handler that does nothing, so that it doesn't end what nohup is to keep.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGQUIT, signal.SIG_DFL)
if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
    signal.signal(signal.SIGHUP, lambda _number, _frame: None)

Attempts = Callable[..., int]
"""Gives how often a test is to try something, and notes it for the table."""


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("attacks")
    group.addoption("--attack-table", action="store_true", help="print what was tried of each class of attack")
    group.addoption("--attack-full", action="store_true", help="try races as often as the threat model says")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("attack_table"):
        config.pluginmanager.register(AttackTable(), "attack-table")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        item.user_properties += [("attack", name) for mark in item.iter_markers("attack") for name in mark.args]


@pytest.fixture
def attempts(request: pytest.FixtureRequest, record_property: Callable[[str, object], None]) -> Attempts:
    """Say how many inputs a test tries; `of(full, quick)` chooses: all of them only with --attack-full."""

    def of(full: int, quick: int | None = None) -> int:
        count = full if quick is None or request.config.getoption("attack_full") else quick
        record_property("inputs", count)
        return count

    return of


class AttackTable:
    """Counts by class of attack and test: what was tried, and whether all of it ended as it must."""

    def __init__(self) -> None:
        self._inputs: dict[tuple[str, str], int] = defaultdict(int)
        self._outcomes: dict[tuple[str, str], list[str]] = defaultdict(list)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        # What broke an invariant of the lab shows as a failed teardown.
        if report.when != "call" and report.outcome == "passed":
            return
        properties = list(report.user_properties)
        test = report.nodeid.split("[")[0].removeprefix("tests/")
        counts = [int(str(value)) for name, value in properties if name == "inputs"]
        for name, value in properties:
            if name == "attack":
                key = str(value), test
                self._outcomes[key].append(report.outcome)
                if report.when == "call":
                    self._inputs[key] += sum(counts) or 1

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        rows = list(self._rows())
        if rows:
            widths = [max(len(row[column]) for row in rows) for column in range(3)]
            terminalreporter.section("attacks")
            for row in rows:
                cells = (row[0].ljust(widths[0]), row[1].ljust(widths[1]), row[2].rjust(widths[2]), row[3])
                terminalreporter.write_line("  ".join(cells))

    def _rows(self) -> Iterator[tuple[str, str, str, str]]:
        yield "class", "test", "inputs", "result"
        for key in sorted(self._outcomes):
            outcomes = self._outcomes[key]
            failed = outcomes.count("failed")
            result = "as specified" if not failed else f"FAILED ({failed} of {len(outcomes)})"
            if set(outcomes) == {"skipped"}:
                result = "skipped"
            yield (*key, str(self._inputs[key]), result)
