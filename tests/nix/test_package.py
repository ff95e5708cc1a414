"""nix/package.nix, built as stdenv would: the sources that it names, its flags of make, its own steps."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from nixeval import NIX, REPOSITORY, evaluate


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The installed package."""
    found = evaluate(
        f"let p = (t.pkgs.callPackage {NIX}/package.nix {{ }}).arguments; in "
        "{ inherit (p) makeFlags postInstall installCheckPhase; inherit (p.src) paths; "
        'placeholder = builtins.placeholder "out"; python = "${(t.pkgs.python3.withPackages (_: [ ]))}"; }'
    )
    work = tmp_path_factory.mktemp("package")
    source, out = work / "source", work / "out"
    for path in map(Path, found["paths"]):
        target = source / path.relative_to(REPOSITORY)
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            shutil.copytree(path, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(path, target)
    flags = [flag.replace(found["placeholder"], str(out)) for flag in found["makeFlags"]]
    # The one thing that is not there: a Python with the product's packages. Ours has them.
    flags = [re.sub(r"^PYTHON=/nix/store/.*", f"PYTHON={sys.executable}", flag) for flag in flags]
    subprocess.run(["make", *flags, "install"], cwd=source, check=True, capture_output=True)
    hooks = "runHook() { :; }\n"
    script = f"set -e\nout={out}\n{hooks}{found['postInstall']}\n{found['installCheckPhase']}"
    subprocess.run(["bash", "-c", script], cwd=source, check=True, capture_output=True)
    return out


@pytest.mark.parametrize(
    "path",
    [
        "bin/isoctl",
        "libexec/isod",
        "libexec/isod-helper",
        "libexec/isod-prepare",
        "libexec/isod-session",
        "libexec/isod-xserver",
        "lib/systemd/system/isod.service",
        "lib/systemd/system/isod-helper.socket",
        "lib/systemd/system/container@.service.d/50-isod.conf",
        "lib/systemd/user/isod-session.service",
        "lib/tmpfiles.d/isod.conf",
        "share/dbus-1/system.d/org.isoctl1.conf",
        "share/dbus-1/system-services/org.isoctl1.service",
        "share/dbus-1/services/org.isoctl1.service",
        "share/polkit-1/actions/org.isoctl1.policy",
        "share/bash-completion/completions/isoctl",
        "share/man/man1/isoctl.1",
        "share/man/man5/isod.toml.5",
    ],
)
def test_it_is_where_nixos_looks(out: Path, path: str) -> None:
    assert (out / path).is_file()


def test_the_template_of_hosts_that_have_none_is_left_out(out: Path) -> None:
    """NixOS would turn its own container@.service into a drop-in of ours: two ExecStart."""
    assert not (out / "lib/systemd/system/container@.service").exists()


def test_every_program_named_in_a_unit_is_there(out: Path) -> None:
    named = set()
    for unit in (out / "lib/systemd").rglob("*"):
        if unit.is_file():
            for line in re.findall(r"^Exec\w+=[-+@!:]*(.*)", unit.read_text(), re.MULTILINE):
                named |= {word for word in line.split() if word.startswith("/")}
    assert named
    named.discard("/bin/sh")  # the one program that NixOS has where others have it
    assert all(Path(program).is_relative_to(out) and Path(program).exists() for program in named)


def test_nothing_points_to_directories_that_nixos_lacks(out: Path) -> None:
    lines = [
        f"{path.relative_to(out)}: {line}"
        for directory in ("lib/systemd", "lib/tmpfiles.d", "share/dbus-1", "share/polkit-1")
        for path in (out / directory).rglob("*")
        if path.is_file()
        for line in path.read_text().splitlines()
        if re.search(r"=\S*/usr/|/usr/libexec", line) and "isoctl.1" not in line
    ]
    assert lines == []


def test_the_installed_daemon_checks_a_policy_as_the_build_does(out: Path, tmp_path: Path) -> None:
    (tmp_path / "containers").mkdir()
    (tmp_path / "isod.toml").write_text("")
    (tmp_path / "containers/blog.toml").write_text('users = ["alice"]\n')
    good = subprocess.run([out / "libexec/isod", "--check", tmp_path], capture_output=True, text=True, check=False)
    assert (good.returncode, good.stderr) == (0, "")
    (tmp_path / "containers/blog.toml").write_text('users = ["alice"]\ngrants.gpu = ["x"]\n')
    bad = subprocess.run([out / "libexec/isod", "--check", tmp_path], capture_output=True, text=True, check=False)
    assert bad.returncode == 1
    assert "blog.toml:2: grants.gpu" in bad.stderr


def test_what_the_build_runs_has_its_interpreter_there() -> None:
    """Nix builds where /bin/sh is the only program at a fixed place."""
    patched = evaluate(f"(t.pkgs.callPackage {NIX}/package.nix {{ }}).arguments.postPatch")
    makefile = (REPOSITORY / "Makefile").read_text()
    recipe = makefile[makefile.index("\ninstall:") :].split("\n\n")[0]
    scripts = set(re.findall(r"tools/\S+\.sh", recipe))
    assert scripts
    for script in scripts:
        assert f"patchShebangs {script}" in patched
        text = (REPOSITORY / script).read_text()
        assert not re.search(r"^\s*/(usr/)?bin/", text, re.MULTILINE)


def test_it_has_what_the_project_needs() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    wanted = {re.split(r"[=>]", item)[0] for item in project["dependencies"]}
    found = evaluate(
        f"let p = (t.pkgs.callPackage {NIX}/package.nix {{ }}).arguments; in {{ inherit (p) version; "
        "python = map (one: one.name) p.passthru.python.packages; }"
    )
    assert found["version"] == project["version"]
    # nixpkgs' name of it is shorter; jeepney is for the tests' clients only.
    assert {*found["python"]} == {*wanted, "systemd"} - {"systemd-python", "jeepney"}
