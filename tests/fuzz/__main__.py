"""Fuzz one target, guided by coverage: `python tests/fuzz TARGET SECONDS`; needs atheris (`make fuzz` has it).

What is found is written to tests/fuzz/corpus/TARGET, for the unit tests to replay until it is mended, and after.
"""

import sys
from pathlib import Path

import atheris

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1] / "daemon")]

with atheris.instrument_imports(include=["isod", "isod_wire", "isod_contract", "tomllib"]):
    from targets import TARGETS


def main() -> None:
    """Never returns: libFuzzer ends the process, with 0 if nothing was found in the time."""
    name, seconds = sys.argv[1:]
    corpus = HERE / "corpus" / name
    options = [f"-max_total_time={seconds}", "-timeout=10", "-rss_limit_mb=1024", "-max_len=4096"]
    options += ["-print_final_stats=1", f"-artifact_prefix={corpus}/found-"]
    # New inputs that only cover more go to a directory of their own: the repository keeps seeds and findings.
    grown = HERE.parents[1] / ".fuzz" / name
    grown.mkdir(parents=True, exist_ok=True)
    atheris.Setup([sys.argv[0], *options, str(grown), str(corpus)], TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
