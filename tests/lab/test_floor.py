"""isod on a host whose systemd is too old: one sentence, and no restarting for ever."""

from lab.machine import Lab


def test_isod_refuses_an_old_systemd_by_name_and_stays_down(lab: Lab) -> None:
    installed = lab.host_path("/usr/lib/isoctl/isod_contract/versions.py")
    text = installed.read_text()
    try:
        installed.write_text(text.replace('"systemd": (254,)', '"systemd": (999,)'))
        assert lab.run("systemctl", "restart", "isod", check=False).returncode != 0
        assert lab.run("systemctl", "is-failed", "isod", check=False).stdout == "failed\n"
        said = [str(record["MESSAGE"]) for record in lab.journal(unit="isod.service", SYSLOG_IDENTIFIER="isod")]
        version = lab.run("busctl", "get-property", "-j", "org.freedesktop.systemd1", "/org/freedesktop/systemd1",
                          "org.freedesktop.systemd1.Manager", "Version").stdout.split('"')[-2]  # fmt: skip
        assert said[-1] == f"isod can't run here: systemd 999 is needed ({version}); upgrade, or use an older isod"
    finally:
        installed.write_text(text)
        lab.run("systemctl", "restart", "isod")
    assert lab.run("isoctl", "run", "blog", "true", user="alice").returncode == 0
