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


def test_policy_lets_more_of_the_callers_variables_in(lab: Lab) -> None:
    """Issue 13.12: a proxy of the host had to be written into policy or typed each time."""
    script = "echo ${http_proxy-none} ${EDITOR-none} ${SECRET-none}"
    env = {"http_proxy": "http://proxy:3128", "EDITOR": "vi", "SECRET": "s"}
    assert said(lab, "sh", "-c", script, env=env) == "none none none"
    with added_policy(lab, "blog", 'hints = ["http_proxy", "EDITOR"]'):
        assert said(lab, "sh", "-c", script, env=env) == "http://proxy:3128 vi none"
        # What the user asks for is theirs.
        assert said(lab, "sh", "-c", script, env=env, flags=("-e", "EDITOR=nano")) == "http://proxy:3128 nano none"


def test_a_variable_that_leads_to_a_path_of_the_host_is_told(lab: Lab) -> None:
    """Issue 13.12: `-e SSH_AUTH_SOCK` gave the app a path that nothing inside has, in silence."""
    lab.run("sh", "-c", "touch ~/agent ~/known", user="alice")
    lab.start("blog")
    lab.in_container("blog", "touch", "/home/alice/known", user="alice")
    script = "isoctl run -e SSH_AUTH_SOCK=$HOME/agent blog true; echo END1; "
    script += "isoctl run -e X=$HOME/known -e OUT=/not/yet blog true; echo END2"
    with lab.pty("sh", "-c", script, user="alice") as terminal:
        shown = terminal.read_until("END1", 30)
        assert b"the use of SSH_AUTH_SOCK is not possible here: it names a path of the host" in shown
        assert b"there is no grant for ssh agents yet" in shown
        assert b"possible" not in terminal.read_until("END2", 30)


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
