"""Desktop entries of a container as a menu reads them: by the specification, and whatever is written there."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isod.desktop_entry import Application, parse

# A backslash in a file is written twice, since the value of a key is unescaped before Exec is split.
BACKSLASH = "\\\\"


def entry(text: str = "", **keys: str) -> str:
    values = {"Type": "Application", "Name": "Foo", "Exec": "foo", **keys}
    return "[Desktop Entry]\n" + "\n".join(f"{key}={value}" for key, value in values.items()) + "\n" + text


def command(exec_value: str) -> tuple[str, ...] | None:
    application = parse("foo", entry(Exec=exec_value))
    return application.command if application else None


def test_an_entry_is_read() -> None:
    text = entry(Comment="Does foo", Icon="foo") + "[Desktop Action new]\nName=New\nExec=foo --new\n"
    assert parse("org.example.Foo", text) == Application("org.example.Foo", "Foo", "Does foo", ("foo",))


@pytest.mark.parametrize(
    "keys",
    [
        {"Type": "Link"},
        {"Type": ""},
        {"NoDisplay": "true"},
        {"Hidden": "true"},
        {"Name": ""},
        {"Name": "\x1b\u202e"},
        {"Name": r"\s\s"},
        {"Exec": ""},
        {"Exec": "%f"},
        {"Exec": '""'},
        {"Exec": '"" foo'},
    ],
)
def test_what_is_no_application_or_not_to_be_shown_is_left_out(keys: dict[str, str]) -> None:
    assert parse("foo", entry(**keys)) is None


@pytest.mark.attack("C14")
@pytest.mark.parametrize("untrusted_id", ["", "a/b", "a\n", "a\x1b[2J", "\u202ea", "x" * 256, "\udcff"])
def test_an_id_that_can_not_be_shown_is_left_out(untrusted_id: str) -> None:
    assert parse(untrusted_id, entry()) is None


@pytest.mark.parametrize("app_id", ["Baldur's Gate 3", "xfce terminal", "umlaut-ü", "Foo, Bar [x] (1)", "x" * 255])
def test_any_file_name_that_people_have_is_an_id(app_id: str) -> None:
    """D-12: these were in no menu."""
    application = parse(app_id, entry())
    assert application is not None
    assert application.id == app_id


@pytest.mark.parametrize(
    ("keys", "desktops", "shown"),
    [
        ({"OnlyShowIn": "KDE;"}, ("sway",), False),
        ({"OnlyShowIn": "KDE;sway"}, ("sway",), True),
        ({"OnlyShowIn": "GNOME;"}, ("ubuntu", "GNOME"), True),
        ({"OnlyShowIn": "GNOME;"}, (), False),
        ({"OnlyShowIn": ""}, ("sway",), False),
        ({"NotShowIn": "sway;KDE;"}, ("sway",), False),
        ({"NotShowIn": "KDE;"}, ("sway",), True),
        ({"NotShowIn": "KDE;"}, (), True),
        ({"OnlyShowIn": "GNOME;", "NotShowIn": "ubuntu;"}, ("ubuntu", "GNOME"), False),
    ],
)
def test_what_is_not_for_this_desktop_is_left_out(keys: dict[str, str], desktops: tuple[str, ...], shown: bool) -> None:
    """D-14: OnlyShowIn and NotShowIn, decided by the first name of XDG_CURRENT_DESKTOP that stands there."""
    assert (parse("foo", entry(**keys), (), desktops) is not None) is shown


@pytest.mark.parametrize(
    ("path", "directory"),
    [("/usr/share", "/usr/share"), (r"/a\sb", "/a b"), ("", ""), ("share", ""), ("/a/../b", ""), ("/a\x1b", "")],
)
def test_the_directory_is_read(path: str, directory: str) -> None:
    """D-14: `Path=`; what is no absolute path of the specification is left out, and it starts in the home."""
    application = parse("foo", entry(Path=path))
    assert application is not None
    assert application.directory == directory


@pytest.mark.parametrize("value", ["true", "1"])
def test_what_needs_a_terminal_says_so(value: str) -> None:
    """D-12: Terminal=true."""
    application = parse("htop", entry(Terminal=value))
    assert application is not None
    assert application.terminal


def activated(untrusted_id: str) -> Application | None:
    return parse(untrusted_id, "[Desktop Entry]\nType=Application\nName=Foo\nDBusActivatable=true\nTerminal=true\n")


def test_what_only_the_bus_can_start_is_started_by_it() -> None:
    """D-12: DBusActivatable without Exec, as the specification allows it."""
    application = activated("org.example.Foo-Bar")
    assert application is not None
    path = "/org/example/Foo_Bar"
    expected = ("org.example.Foo-Bar", path, "org.freedesktop.Application", "Activate", "a{sv}", "0")
    assert application.command == ("busctl", "--user", "call", "--", *expected)
    assert not application.terminal


@pytest.mark.attack("C14")
@pytest.mark.parametrize(
    "untrusted_id", ["foo", "a b.c", "--x", "-x.y z", "a..b", ".a.b", "a.1b", "é.b", "a." + "b" * 254]
)
def test_an_id_that_is_no_name_on_a_bus_starts_nothing(untrusted_id: str) -> None:
    assert activated(untrusted_id) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Type=Application\nName=Foo\nExec=foo\n",
        "[Desktop Action x]\nType=Application\nName=Foo\nExec=foo\n",
        "[desktop entry]\nType=Application\nName=Foo\nExec=foo\n",
        "# [Desktop Entry]\nType=Application\nName=Foo\nExec=foo\n",
        entry("\0"),
    ],
)
def test_keys_outside_of_their_group_are_none(text: str) -> None:
    assert parse("foo", text) is None


def test_comments_blanks_and_repeated_keys_change_nothing() -> None:
    text = "# made by hand\n\n[Desktop Entry]\nType = Application\n#Name=Bar\nName=Foo\nName=Bar\nExec = foo\r\n"
    assert parse("foo", text) == Application("foo", "Foo", "", ("foo",))


@pytest.mark.parametrize("end", ["\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\u2029"])
def test_only_a_line_feed_ends_a_line(end: str) -> None:
    application = parse("foo", entry(Comment=f"one{end}Exec=evil"))
    assert application is not None
    assert (application.comment, application.command) == ("oneExec=evil", ("foo",))


@pytest.mark.parametrize(
    ("languages", "name"),
    [
        ((), "Files"),
        (("de_AT", "de"), "Dateien"),
        (("sr_RS", "sr"), "Files"),
        (("fr", "de"), "Dateien"),
        (("pt_BR", "pt"), "Arquivos"),
        (("pt_PT", "pt"), "Ficheiros"),
    ],
)
def test_texts_are_in_the_users_language(languages: tuple[str, ...], name: str) -> None:
    text = entry("Name[de]=Dateien\nName[pt_BR]=Arquivos\nName[pt]=Ficheiros\nName[sr@Latn]=x", Name="Files")
    application = parse("foo", text, languages)
    assert application is not None
    assert application.name == name


@pytest.mark.attack("C14")
def test_texts_are_shown_as_one_harmless_line() -> None:
    """I-71: what moves a cursor or reverses text does not reach a launcher."""
    application = parse("foo", entry(Name=r"a\nb\tc\sd\\e\q" + "\x1b[2J\u202e\u200b", Comment="y" * 1000))
    assert application is not None
    assert application.name == r"abc d\e\q[2J"
    assert application.comment == "y" * 200


@pytest.mark.parametrize(
    ("exec_value", "expected"),
    [
        ("foo", ("foo",)),
        ("foo  --bar   baz ", ("foo", "--bar", "baz")),
        ('foo "a b" ""', ("foo", "a b", "")),
        (f'foo "a{BACKSLASH}"b"', ("foo", 'a"b')),
        (f'foo "{BACKSLASH}`{BACKSLASH}${BACKSLASH}{BACKSLASH}"', ("foo", "`$\\")),
        (f'foo "a{BACKSLASH}n"', ("foo", "a\\n")),
        # As emacsclient.desktop has it.
        (
            f'sh -c "[ {BACKSLASH}"{BACKSLASH}$*{BACKSLASH}" ] && e {BACKSLASH}"{BACKSLASH}$@{BACKSLASH}"" x %F',
            ("sh", "-c", '[ "$*" ] && e "$@"', "x"),
        ),
        # Not in the specification, but in the wild: Wine's, and scripts in single quotes.
        (f'env WINEPREFIX="/home/a b" w C:{BACKSLASH}{BACKSLASH}x', ("env", "WINEPREFIX=/home/a b", "w", "C:\\x")),
        ("sh -c 'a \"b\" $c'", ("sh", "-c", 'a "b" $c')),
        # A shell is not asked: these are characters.
        ("foo $HOME;rm *", ("foo", "$HOME;rm", "*")),
    ],
)
def test_exec_is_split_and_unquoted(exec_value: str, expected: tuple[str, ...]) -> None:
    assert command(exec_value) == expected


@pytest.mark.parametrize(
    ("exec_value", "expected"),
    [
        ("foo %f", ("foo",)),
        ("foo %F %u %U %i %k", ("foo",)),
        ("foo %d %D %n %N %v %m", ("foo",)),
        ("foo --file=%u --new", ("foo", "--new")),
        ("foo -name %c", ("foo", "-name", "Foo")),
        ("foo --name=%c", ("foo", "--name=Foo")),
        ("foo 100%%", ("foo", "100%")),
        ("foo %%f", ("foo", "%f")),
        ('foo "100%%"', ("foo", "100%")),
        ('sh -c "foo %U; bar"', ("sh", "-c", "foo ; bar")),
    ],
)
def test_field_codes_are_filled_in_and_files_there_are_none(exec_value: str, expected: tuple[str, ...]) -> None:
    assert command(exec_value) == expected


@pytest.mark.attack("C14")
def test_a_name_is_one_argument_whatever_it_holds() -> None:
    application = parse("foo", entry(Name='a "b" %f; c', Exec="foo %c"))
    assert application is not None
    assert application.command == ("foo", 'a "b" %f; c')


@pytest.mark.attack("C14")
@pytest.mark.parametrize(
    "exec_value",
    ['foo "bar', "foo 'bar", f'foo "bar{BACKSLASH}"', "foo %z", "foo " + "a " * 65, "foo " + "a" * 3000, "a " * 9000],
)
def test_a_malformed_or_boundless_exec_starts_nothing(exec_value: str) -> None:
    assert command(exec_value) is None


LINES = st.lists(
    st.sampled_from(["[Desktop Entry]", "Type=Application", "Name=Foo", "Exec=", "[", "=", "Name[de]=", "Hidden=true"])
    | st.text(max_size=40)
    | st.text("\\\"'%cfF aU=\t", max_size=40).map("Exec=foo {}".format),
    max_size=12,
).map("\n".join)


@pytest.mark.attack("C14")
@given(st.text(max_size=20) | st.just("foo"), LINES | st.text(), st.lists(st.text(max_size=5), max_size=3))
def test_no_input_makes_it_raise_and_all_that_is_given_can_be_started(
    untrusted_id: str, text: str, languages: list[str]
) -> None:
    application = parse(untrusted_id, text, languages)
    if application is not None:
        assert application.name.isprintable()
        assert application.command[0]
        assert len(application.command) <= 64
        assert not any("\0" in word or len(word) > 2048 for word in application.command)


@given(st.lists(st.text(st.characters(exclude_characters="\0\n", exclude_categories=["Cs"])), min_size=1, max_size=8))
def test_what_is_quoted_by_the_specification_arrives_as_it_is(arguments: list[str]) -> None:
    quoted = ['"' + "".join("\\" + char if char in '"`$\\' else char for char in word) + '"' for word in arguments]
    line = " ".join(["foo", *quoted]).replace("\\", "\\\\").replace("\t", "\\t").replace("\r", "\\r").replace("%", "%%")
    assert command(line) == ("foo", *arguments)
