"""The compositors of the lab: how each is started without a screen, looked at, and typed into."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from lab.desktop import HEIGHT, WIDTH, Desktop
from lab.screenshot import Box, Picture
from lab.windows import Window, windows_of

if TYPE_CHECKING:
    from lab.machine import Lab

_HEADLESS = {"WLR_BACKENDS": "headless", "WLR_RENDERER": "pixman", "WLR_LIBINPUT_NO_DEVICES": "1"}


class Wlroots(Desktop):
    """What sway and labwc have in common: grim and wtype work."""

    def _compositor_environment(self) -> dict[str, str]:
        return _HEADLESS

    def _started(self) -> None:
        # a seat that has a keyboard only while wtype runs loses the first key: the client has not bound it yet
        self._companions.append(self.popen("wtype", "-s", "2000000", "-k", "Shift_L"))

    def screenshot(self) -> Picture:
        """The whole screen."""
        ppm = self.lab.run(
            "grim", "-t", "ppm", "-", user=self.user, env=self.env, cgroup=self.login.cgroup, raw=True
        ).stdout
        return Picture.from_ppm(ppm)

    def type(self, text: str) -> None:
        """Type a text into the focused window."""
        self.run("wtype", "--", text)

    def key(self, name: str, *modifiers: str) -> None:
        """Press one key, named as in xkb, with modifiers held (logo, ctrl, alt, shift)."""
        held = [word for modifier in modifiers for word in ("-M", modifier)]
        released = [word for modifier in reversed(modifiers) for word in ("-m", modifier)]
        self.run("wtype", *held, "-k", name, *released)

    def titles(self) -> list[str]:
        """`app_id: title` of each window."""
        return self.run("wlrctl", "toplevel", "list").stdout.splitlines()


class Sway(Wlroots):
    """sway with Xwayland, its tree of windows, and key bindings."""

    kind = "sway"
    background: ClassVar[tuple[int, int, int]] = (0x20, 0x40, 0x60)
    scale = 1

    def _write_config(self) -> None:
        self.write(
            "config",
            f"output HEADLESS-1 resolution {WIDTH}x{HEIGHT} position 0 0\n"
            "output * bg #204060 solid_color\n"
            "xwayland enable\ndefault_border normal 2\nfocus_on_window_activation focus\n"
            f"{self.extra_config}\nexec {self._told_script}\n",
        )

    def _command(self) -> list[str]:
        return ["sway", "--config", f"{self.dir}/config"]

    def _started(self) -> None:
        super()._started()
        self.scale = 1

    def msg(self, *words: str) -> Any:
        """Send a command or, with -t, a question to sway."""
        return json.loads(self.run("swaymsg", "-r", *words).stdout or "null")

    def tree(self) -> dict[str, Any]:
        """What sway itself says it shows."""
        tree: dict[str, Any] = self.msg("-t", "get_tree")
        return tree

    def windows(self) -> list[Window]:
        """All windows."""
        return windows_of(self.tree())

    def find(self, **wanted: Any) -> list[Window]:
        """The windows with these values, e.g. app_id="foot", title="blog"."""
        return [w for w in self.windows() if all(getattr(w, name) == value for name, value in wanted.items())]

    def wait_window(self, timeout_sec: float = 15.0, **wanted: Any) -> Window:
        """The first window with these values, once it is there."""
        deadline = time.monotonic() + timeout_sec
        while not (found := self.find(**wanted)):
            if time.monotonic() > deadline:
                raise TimeoutError(f"no window {wanted} among {self.windows()}\n{self.log()}")
            time.sleep(0.02)
        return found[0]

    def wait_no_window(self, timeout_sec: float = 15.0, **wanted: Any) -> None:
        """Wait until there is none with these values."""
        self.lab.wait_for(lambda: not self.find(**wanted), timeout_sec, f"there still is a window {wanted}")

    def command(self, window: Window, command: str) -> None:
        """Do something with one window."""
        self.msg(f"[con_id={window.id}] {command}")

    def close_window(self, window: Window) -> None:
        """Ask the window to close, as Mod+Shift+q does, and see it gone."""
        # it may have gone by itself just now
        self.run("swaymsg", f"[con_id={window.id}] kill", check=False)
        self.wait_no_window(id=window.id)

    def resize(self, window: Window, width: int, height: int) -> Window:
        """Make a window float with contents of about this size; returns it as it is then."""
        size = f"resize set {width} px {height} px"
        self.command(window, f"floating enable, border none, {size}, move position center")

        def is_so() -> bool:
            box: Box = self.find(id=window.id)[0].box
            # terminals take whole characters
            return 0 <= width - box.width < 20 and 0 <= height - box.height < 20

        self.lab.wait_for(is_so, what=f"not resized: {self.find(id=window.id)}")
        return self.find(id=window.id)[0]

    def set_scale(self, scale: int) -> None:
        """Set the output's scale."""
        self.msg(f"output HEADLESS-1 scale {scale}")
        self.scale = scale

    def screenshot(self, window: Window | None = None) -> Picture:
        """The whole screen, or what is seen where a window is now."""
        picture = super().screenshot()
        if window is None:
            return picture
        box: Box = self.find(id=window.id)[0].box
        return picture.crop(box.scaled(self.scale))

    def bind(self, keys: str, command: str) -> None:
        """Bind keys ("Mod4+t") to a command, as a user's configuration does."""
        self.msg(f"bindsym {keys} exec {command}")

    def exec(self, command: str) -> None:
        """Have sway itself start a command."""
        self.msg(f"exec {command}")


class SecondSway(Sway):
    """Another sway in the same login, as a remote or nested one is; tells nobody that it is there."""

    def __init__(self, first: Sway) -> None:
        self._first = first
        super().__init__(first.lab, first.user, tells="nothing")

    def log_in(self) -> None:
        """Start it in the login that is there."""
        self.login = self._first.login
        self.dir += "-second"
        self.files = self.lab.running.run_dir / f"desktop-{self.user}-second"
        self.files.mkdir(exist_ok=True)
        self._prepare()
        self.start()

    def close(self) -> None:
        """End it; the login goes on."""
        self.stop()


class Labwc(Wlroots):
    """labwc, whose socket is wayland-0."""

    kind = "labwc"

    def _command(self) -> list[str]:
        return ["labwc", "-C", self.dir, "-s", self._told_script]


class Weston(Desktop):
    """weston, which has no security context and offers capture; without input, so programs that need a seat fail."""

    kind = "weston"
    fixed_display = "wayland-0"

    def _command(self) -> list[str]:
        size = [f"--width={WIDTH}", f"--height={HEIGHT}"]
        # --debug lets the screenshooter in
        flags = "--backend=headless --renderer=pixman --no-config --idle-time=0 --debug --xwayland".split()
        return ["weston", *flags, *size, f"--socket={self.fixed_display}"]

    def screenshot(self) -> Picture:
        """The whole screen."""
        to_ppm = "import glob; from PIL import Image; Image.open(glob.glob('*.png')[0]).convert('RGB').save('s.ppm')"
        self.run("sh", "-c", f"rm -rf {self.dir}/shot; mkdir {self.dir}/shot; cd {self.dir}/shot; weston-screenshooter")
        self.run("sh", "-c", f'cd {self.dir}/shot; exec python3 -c "$0"', to_ppm)
        return Picture.from_ppm(self.lab.host_path(f"{self.dir}/shot/s.ppm").read_bytes())

    def type(self, text: str) -> None:
        """Not possible here."""
        raise NotImplementedError("weston has no input without a screen")


class Mutter(Desktop):
    """GNOME's mutter, which has no security context; it is looked at and typed into through its D-Bus interfaces."""

    kind = "mutter"
    fixed_display = "wayland-0"

    def _command(self) -> list[str]:
        screen = ["--virtual-monitor", f"{WIDTH}x{HEIGHT}"]
        return ["mutter", "--headless", "--no-x11", *screen, "--wayland-display", str(self.fixed_display)]

    def _write_config(self) -> None:
        self.write("mutterctl.py", (Path(__file__).parent / "mutterctl.py").read_text())

    def _started(self) -> None:
        # its names come after its socket
        status = ("busctl", "--user", "status", "org.gnome.Mutter.ScreenCast")
        self.lab.wait_for(lambda: self.run(*status, check=False).returncode == 0, what="no ScreenCast on the bus")

    def _control(self, *argv: str) -> bytes:
        command = ("python3", f"{self.dir}/mutterctl.py", *argv)
        return self.lab.run(*command, user=self.user, env=self.env, raw=True).stdout

    def screenshot(self) -> Picture:
        """The whole screen."""
        return Picture.from_ppm(self._control("shot", str(WIDTH), str(HEIGHT)))

    def type(self, text: str) -> None:
        """Type a text into the focused window."""
        self._control("type", text)


class Kwin(Desktop):
    """KDE's compositor, of the tree desktop-full; without a GPU it makes no pictures, but it tells its windows."""

    kind = "kwin"
    fixed_display = "wayland-0"

    def _command(self) -> list[str]:
        size = ["--width", str(WIDTH), "--height", str(HEIGHT)]
        return ["kwin_wayland", "--virtual", "--no-lockscreen", "--socket", str(self.fixed_display), *size]

    def _compositor_environment(self) -> dict[str, str]:
        return {"QT_LOGGING_RULES": "kwin_scripting.debug=true;js.debug=true"}

    def _started(self) -> None:
        status = ("busctl", "--user", "status", "org.kde.KWin")
        self.lab.wait_for(lambda: self.run(*status, check=False).returncode == 0, what="no KWin on the bus")

    def has_window(self, title: str) -> bool:
        """Whether a window has this title, by a script inside KWin, whose output is in its log."""
        self.write("windows.js", 'for (const window of workspace.windowList()) print("window: " + window.caption)')
        call = "busctl --user -j call org.kde.KWin".split()
        loaded = self.run(*call, "/Scripting", "org.kde.kwin.Scripting", "loadScript", "s", f"{self.dir}/windows.js")
        number = json.loads(loaded.stdout)["data"][0]
        self.run(*call, f"/Scripting/Script{number}", "org.kde.kwin.Script", "run")
        self.run(*call, "/Scripting", "org.kde.kwin.Scripting", "unloadScript", "s", f"{self.dir}/windows.js")
        return f"window: {title}\n" in self.log()

    def screenshot(self) -> Picture:
        """Not possible here."""
        raise NotImplementedError("KWin makes pictures by OpenGL only")

    def type(self, text: str) -> None:
        """Not possible here."""
        raise NotImplementedError("KWin takes input from its own clients only")


_KINDS: dict[str, type[Desktop]] = {kind.kind: kind for kind in (Sway, Labwc, Weston, Mutter, Kwin)}


def open_desktop(lab: Lab, user: str, compositor: str, **options: Any) -> Desktop:
    """Log a user in with this compositor; alice has the seat unless told otherwise."""
    if user == "alice":
        options.setdefault("seat", "seat0")
    return _KINDS[compositor](lab, user, **options)
