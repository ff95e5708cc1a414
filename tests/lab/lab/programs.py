"""Small programs of every toolkit: each shows a window and writes the line that is typed into it to ~/typed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lab.screenshot import Colour

if TYPE_CHECKING:
    from lab.machine import Lab

# below /usr, which the containers share
DIRECTORY = "/usr/share/lab"
TYPED = "typed"
_READ_LINE = f'read -r line; echo "$line" > ~/{TYPED}; exec sleep 600'
# written at once, so that whoever sees the file sees all of it
_SAVE = f'x=$(cat); echo "$x" > ~/{TYPED}.new; mv ~/{TYPED}.new ~/{TYPED}'

_QT = f"""import pathlib, sys
from PyQt6.QtWidgets import QApplication, QLineEdit, QVBoxLayout, QWidget

app = QApplication(sys.argv)
window, field = QWidget(), QLineEdit()
QVBoxLayout(window).addWidget(field)
window.setStyleSheet("QWidget {{ background: #0055cc; color: white }}")
window.setWindowTitle(sys.argv[1])
window.resize(400, 300)
field.returnPressed.connect(lambda: pathlib.Path.home().joinpath("{TYPED}").write_text(field.text() + "\\n"))
window.show()
app.exec()
"""

_SWING = f"""import java.awt.*;
import java.nio.file.*;
import javax.swing.*;

public class Swing {{
    public static void main(String[] arguments) {{
        SwingUtilities.invokeLater(() -> {{
            JFrame frame = new JFrame(arguments[0]);
            JTextField field = new JTextField(20);
            field.addActionListener(event -> {{
                try {{
                    Files.writeString(Path.of(System.getProperty("user.home"), "{TYPED}"), field.getText() + "\\n");
                }} catch (java.io.IOException error) {{
                    throw new java.io.UncheckedIOException(error);
                }}
            }});
            frame.getContentPane().setBackground(new Color(0xcc, 0x55, 0));
            frame.add(field, BorderLayout.NORTH);
            frame.setDefaultCloseOperation(JFrame.EXIT_ON_CLOSE);
            frame.setSize(400, 300);
            frame.setVisible(true);
            field.requestFocusInWindow();
        }});
    }}
}}
"""

_PYGAME = f"""import pathlib, sys
import pygame

pygame.init()
screen = pygame.display.set_mode((400, 300))
pygame.display.set_caption(sys.argv[1])
pygame.key.start_text_input()
text = ""
while True:
    screen.fill((0x77, 0, 0x77))
    pygame.display.flip()
    event = pygame.event.wait(100)
    if event.type == pygame.QUIT:
        break
    if event.type == pygame.TEXTINPUT:
        text += event.text
    if event.type == pygame.KEYDOWN and event.key == pygame.K_RETURN:
        pathlib.Path.home().joinpath("{TYPED}").write_text(text + "\\n")
"""

_PAGE = """<!doctype html><title>page</title><body style="background: #00aaaa">
<input autofocus oninput="document.title = this.value" onblur="this.focus()">
"""

_ACTIVATED = "#!/bin/sh\nexec foot --override=colors.background=aa0000 --title=activated sleep 600\n"
# a name that the session bus, of the host and of the containers, starts a program for
ACTIVATED_NAME = "org.lab.Activated"
# has D-Bus start it; it never answers
ACTIVATE = ("busctl", "--user", "--timeout=5", "call", ACTIVATED_NAME, "/", "org.freedesktop.DBus.Peer", "Ping")
_SERVICE = f"[D-BUS Service]\nName={ACTIVATED_NAME}\nExec={DIRECTORY}/activated\n"

_SOURCES = {
    f"{DIRECTORY}/qt.py": _QT,
    f"{DIRECTORY}/Swing.java": _SWING,
    f"{DIRECTORY}/sdl.py": _PYGAME,
    f"{DIRECTORY}/page.html": _PAGE,
    f"{DIRECTORY}/activated": _ACTIVATED,
    "/usr/share/dbus-1/services/lab.service": _SERVICE,
}


@dataclass(frozen=True)
class Program:
    """One of them; `x11`: it speaks no Wayland; `colour`: most of its window, where that is one colour."""

    name: str
    argv: tuple[str, ...]
    colour: Colour | None
    x11: bool = False

    def command(self, title: str) -> list[str]:
        """Its argv with a title of the test's."""
        return [word.replace("TITLE", title) for word in self.argv]


FOOT = Program(
    "foot", ("foot", "--override=colors.background=aa0000", "--title=TITLE", "sh", "-c", _READ_LINE), (0xAA, 0, 0)
)
GTK4 = Program("gtk4", ("sh", "-c", f'zenity --entry --title="$0" --text=line | ({_SAVE})', "TITLE"), None)
QT6 = Program("qt6", ("python3", f"{DIRECTORY}/qt.py", "TITLE"), (0, 0x55, 0xCC))
SWING = Program("swing", ("java", f"{DIRECTORY}/Swing.java", "TITLE"), (0xCC, 0x55, 0), x11=True)
XTERM = Program(
    "xterm", ("xterm", "-bg", "#008800", "-fg", "white", "-T", "TITLE", "-e", "sh", "-c", _READ_LINE), (0, 0x88, 0),
    x11=True,
)  # fmt: skip
SDL2 = Program("sdl2", ("python3", f"{DIRECTORY}/sdl.py", "TITLE"), (0x77, 0, 0x77))

# these show what was typed as their window's title
_URL = f"file://{DIRECTORY}/page.html"
FIREFOX = Program("firefox", ("firefox-esr", "--new-instance", "--profile", "/tmp", _URL), (0, 0xAA, 0xAA))
CHROMIUM = Program(
    "chromium",
    ("chromium", "--no-first-run", "--no-sandbox", "--disable-gpu", "--user-data-dir=/tmp/chromium", _URL),
    (0, 0xAA, 0xAA),
)
BROWSERS = (FIREFOX, CHROMIUM)

PROGRAMS = (FOOT, GTK4, QT6, SWING, XTERM)


def install(lab: Lab) -> None:
    """Put the programs that are ours on the lab host and so into its containers."""
    for name, source in _SOURCES.items():
        path = lab.host_path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
        path.chmod(0o755)


def forget_typed(lab: Lab, container: str | None = None, user: str = "alice") -> None:
    """Remove what earlier programs wrote, on the host or in a container."""
    for name in (TYPED, TYPED + ".new"):
        lab.host_path(f"{_home(container, user)}/{name}").unlink(missing_ok=True)


def wait_typed(lab: Lab, container: str | None = None, user: str = "alice", timeout_sec: float = 10.0) -> str:
    """The line that was typed, once it has arrived."""
    path = lab.host_path(f"{_home(container, user)}/{TYPED}")
    lab.wait_for(lambda: path.exists() and path.read_text().endswith("\n"), timeout_sec, "nothing typed has arrived")
    return path.read_text().removesuffix("\n")


def _home(container: str | None, user: str) -> str:
    return f"/home/{user}" if container is None else f"/var/lib/machines/{container}/home/{user}"
