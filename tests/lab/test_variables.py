"""Zone, language and what policy says of variables, as programs inside see them."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from lab.machine import Lab
from lab.policies import added_policy


def said(lab: Lab, *words: str, env: dict[str, str] | None = None, flags: tuple[str, ...] = ()) -> str:
    done: subprocess.CompletedProcess[str] = lab.run("isoctl", "run", *flags, "blog", *words, user="alice", env=env)
    return done.stdout.strip()


@contextmanager
def host_zone(lab: Lab, zone: str) -> Iterator[None]:
    before = lab.run("readlink", "/etc/localtime", check=False).stdout.strip()
    lab.run("ln", "-sfn", f"/usr/share/zoneinfo/{zone}", "/etc/localtime")
    try:
        yield
    finally:
        lab.run("ln", "-sfn", before, "/etc/localtime") if before else lab.run("rm", "/etc/localtime")


def test_apps_follow_the_hosts_time_zone_at_each_launch(lab: Lab) -> None:
    """R-45: the container kept the zone that the host had when it was started, and nothing said so."""
    lab.start("blog")
    for zone, name in (("Asia/Tokyo", "JST"), ("Asia/Kolkata", "IST")):
        with host_zone(lab, zone):
            for flags in ((), ("--no-login-shell",)):
                assert said(lab, "date", "+%Z", flags=flags) == name
            # The caller's word, and policy's, come first; so does that of a profile.
            assert said(lab, "date", "+%Z", env={"TZ": "Europe/Berlin"}) in ("CET", "CEST")
            with added_policy(lab, "blog", 'environment.TZ = "Etc/UTC"'):
                assert said(lab, "date", "+%Z") == "UTC"
            with added_policy(lab, "blog", 'unset = ["TZ"]'):
                assert said(lab, "sh", "-c", "echo ${TZ-none}") == "none"


def test_an_unknown_language_is_utf8_inside(lab: Lab) -> None:
    """R-16, R-46: LANG was dropped where the container had nothing of its own."""
    lab.start("blog")
    env = {"LANG": "xx_YY.UTF-8"}
    assert said(lab, "locale", "charmap", env=env) == "UTF-8"
    assert said(lab, "printenv", "LANG", env=env) == "C.UTF-8"


def test_policy_takes_variables_away_and_the_user_gives_them_back(lab: Lab) -> None:
    """R-10, R-12."""
    with added_policy(lab, "blog", 'unset = ["LANG", "NO_COLOR", "FROM_PROFILE"]'):
        lab.in_container("blog", "sh", "-c", "echo export FROM_PROFILE=1 > /etc/profile.d/unset.sh")
        try:
            script = "echo ${LANG-none} ${NO_COLOR-none} ${FROM_PROFILE-none} ${GDK_SCALE-none}"
            env = {"NO_COLOR": "1", "GDK_SCALE": "2"}
            assert said(lab, "sh", "-c", script, env=env) == "none none none 2"
            assert said(lab, "sh", "-c", script, env=env, flags=("-e", "LANG=C")) == "C none none 2"
        finally:
            lab.in_container("blog", "rm", "/etc/profile.d/unset.sh")
