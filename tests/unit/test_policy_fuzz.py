"""Any bytes in a policy file end in a policy or in a sentence, never in a traceback."""

import os
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from isod.policy import ContainerPolicy
from isod.policy_loader import load_policy
from isod.policy_text import line_of
from isod.settings import DaemonSettings

OWNERS = frozenset({0, os.geteuid()})
KEYS = [*ContainerPolicy.model_fields, *DaemonSettings.model_fields, "x11", "root", "gpu", "apps", '"a b"', "a.b.c"]

values = st.recursive(
    st.one_of(
        st.booleans().map(lambda value: str(value).lower()),
        st.integers().map(str),
        st.floats().map(str),
        st.text(max_size=8).map(repr),
        st.sampled_from(["'alice'", "'root'", "'none'", "1979-05-27", "'''\na = 1\n'''", "nan", "{"]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda items: f"[{', '.join(items)}]"),
        st.dictionaries(st.sampled_from(KEYS), inner, max_size=3).map(
            lambda table: "{" + ", ".join(f"{key} = {value}" for key, value in table.items()) + "}"
        ),
    ),
    max_leaves=6,
)
lines = st.one_of(
    st.sampled_from(["", "# x", "[grants]", "[defaults]", "[defaults.grants]", "[never]", "[limits]", "[environment]"]),
    st.builds("{} = {}".format, st.sampled_from(KEYS), values),
    st.builds("[{}]".format, st.sampled_from(KEYS)),
)
toml_like = st.lists(lines, max_size=12).map(lambda items: "\n".join(items).encode("utf-8", "surrogatepass"))
contents = st.one_of(st.binary(max_size=200), st.text(max_size=200).map(str.encode), toml_like)


@settings(max_examples=400)
@given(blog=contents, isod=contents)
def test_any_bytes(blog: bytes, isod: bytes) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory)
        containers = path / "containers"
        containers.mkdir(mode=0o755)
        (containers / "blog.toml").write_bytes(blog)
        (path / "isod.toml").write_bytes(isod)
        for file in (containers / "blog.toml", path / "isod.toml"):
            file.chmod(0o644)
        result = load_policy(path, owners=OWNERS)
        assert result.problems or "blog" in result.policy.containers
        for problem in result.problems:
            source = blog if problem.file.endswith("blog.toml") else isod
            assert str(problem).isprintable()
            assert 0 <= problem.line <= source.count(b"\n") + 1
        # What was loaded can be loaded over, and a broken file does not lose it.
        (containers / "blog.toml").write_bytes(b"=")
        again = load_policy(path, result.policy, owners=OWNERS)
        assert again.policy.containers.keys() == result.policy.containers.keys()


@given(st.text(), st.lists(st.one_of(st.text(), st.integers())))
def test_a_line_is_always_one_of_the_file(text: str, location: list[str | int]) -> None:
    assert 1 <= line_of(text, location) <= text.count("\n") + 1
