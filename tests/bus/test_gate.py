"""The gate on a real bus: what no caller may do, whatever it sends, and what is recorded of it."""

import logging
from typing import Any

import pytest

from isod.bus.gate import Gate
from isod_contract import names
from isod_contract.errors import ContainerGone, UnsafeFd
from isod_contract.methods import METHODS, PROPERTIES, Access
from isod_side import ALICE, ALICES_APP, BOB, BOBS_APP, ROOT, IsodSide, call, refused, until
from isod_wire import Connection, Variant

PROPERTIES_GET = {"interface": names.PROPERTIES}
BLOG, SHARED = names.container_path("blog"), names.container_path("shared")
RUN = ("sasa{sv}", ["blog", ["true"], {}])


@pytest.mark.attack("C07")
@pytest.mark.parametrize(
    ("path", "interface", "member", "name"),
    [
        (names.ROOT_PATH, names.MANAGER, "Shutdown", "UnknownMethod"),
        (names.ROOT_PATH, names.MANAGER, "handlers", "UnknownMethod"),
        (names.ROOT_PATH, names.CONTAINER, "Stop", "UnknownMethod"),
        (BLOG, names.MANAGER, "Run", "UnknownMethod"),
        (names.ROOT_PATH, "org.example.Other", "Run", "UnknownMethod"),
        ("/org/isoctl1/other", names.MANAGER, "Run", "UnknownObject"),
        (BLOG + "/below", names.CONTAINER, "Stop", "UnknownObject"),
        ("/", names.MANAGER, "Run", "UnknownMethod"),
    ],
)
async def test_what_is_not_declared_is_not_there(
    alice: Connection, isod: IsodSide, path: str, interface: str, member: str, name: str
) -> None:
    assert (await refused(alice, member, *RUN, path=path, interface=interface))[0] == name
    assert not isod.launcher.launches
    assert not isod.containers.calls


@pytest.mark.attack("C07")
@pytest.mark.parametrize("key", sorted((method.interface, method.name) for method in METHODS))
async def test_a_method_without_a_row_or_a_row_without_a_method_keeps_isod_from_starting(
    isod: IsodSide, key: tuple[str, str]
) -> None:
    gate = isod.endpoint.gate
    parts: dict[str, Any] = {
        "connection": isod.connection,
        "callers": isod.endpoint.callers,
        "services": gate._services,
        "standard": gate._standard,
        "authority": isod.prompts,
        "decisions": gate._decisions,
        "call_limits": gate._limits,
        "accountable": gate._accountable,
    }
    handler = gate._handlers[key]
    with pytest.raises(ValueError, match=r"handled without a declaration: org\.isoctl1\.Manager\.Undeclared"):
        Gate(handlers={**gate._handlers, (names.MANAGER, "Undeclared"): handler}, **parts)
    with pytest.raises(ValueError, match=key[1]):
        Gate(handlers={other: value for other, value in gate._handlers.items() if other != key}, **parts)


@pytest.mark.attack("C07")
@pytest.mark.parametrize("method", METHODS, ids=lambda method: f"{method.interface}.{method.name}")
async def test_another_signature_is_refused_before_the_body_is_looked_at(
    alice: Connection, isod: IsodSide, method: Any
) -> None:
    paths = {names.MANAGER: names.ROOT_PATH, names.CONTAINER: BLOG, names.APP: names.app_path(ALICES_APP)}
    wrong = ("d", [0.5]) if method.in_signature != "d" else ("s", [""])
    name, text = await refused(alice, method.name, *wrong, path=paths[method.interface], interface=method.interface)
    assert (name, text) == ("InvalidArgs", f"The arguments must be of type '{method.in_signature}'")
    assert not isod.containers.calls


async def test_an_unknown_option_and_one_of_another_type_are_refused_by_name(alice: Connection, isod: IsodSide) -> None:
    for options, expected in (
        ({"colour": Variant("s", "red")}, "'colour': no such option here"),
        ({"terminal": Variant("s", "yes")}, "terminal: must be of D-Bus type 'b'"),
        ({"stdin": Variant("h", 0)}, "stdin: names a file descriptor that the message does not have"),
    ):
        name, text = await refused(alice, "Run", "sasa{sv}", ["blog", ["true"], options])
        assert name == "InvalidArgument"
        assert text.startswith(expected)
    assert not isod.launcher.launches


async def test_findings_are_those_of_the_caller(alice: Connection, bob: Connection) -> None:
    for client, uid in ((alice, ALICE), (bob, BOB)):
        ((finding,),) = await call(client, "Check", "a{sv}", [{}])
        told = {key: value.value for key, value in finding.items()}
        assert told == {"code": "host-thing", "what": f"seen by {uid}", "why": "it matters", "fix": "`mend it`"}
    arguments = ("a{sv}", [{"hints": Variant("as", ["LANG=C"])}])
    ((finding,),) = await call(bob, "Check", *arguments, path=SHARED, interface=names.CONTAINER)
    assert finding["what"].value == f"shared seen by {BOB}"


@pytest.mark.attack("C30")
async def test_what_others_have_does_not_exist(isod: IsodSide, bob: Connection) -> None:
    """S07: "not yours" and "not there" are the same answer."""
    for path, absent, interface, member, arguments in (
        (BLOG, names.container_path("absent"), names.CONTAINER, "Start", ("a{sv}", [{}])),
        (BLOG, names.container_path("absent"), names.CONTAINER, "OpenLog", ("a{sv}", [{}])),
        (BLOG, names.container_path("absent"), names.CONTAINER, "Check", ("a{sv}", [{}])),
        (names.app_path(ALICES_APP), names.app_path("0" * 32), names.APP, "Stop", ()),
        (names.app_path(ALICES_APP), names.app_path("0" * 32), names.APP, "Signal", ("i", [9])),
        (BLOG, names.container_path("absent"), names.PROPERTIES, "GetAll", ("s", [names.CONTAINER])),
        (BLOG, names.container_path("absent"), names.PROPERTIES, "Get", ("ss", [names.CONTAINER, "State"])),
        (BLOG, names.container_path("absent"), names.INTROSPECTABLE, "Introspect", ()),
    ):
        his = await refused(bob, member, *arguments, path=path, interface=interface)
        nobodys = await refused(bob, member, *arguments, path=absent, interface=interface)
        assert his[0] == nobodys[0]
        assert his[1].replace("blog", "X").replace(ALICES_APP, "X") == nobodys[1].replace("absent", "X").replace(
            "0" * 32, "X"
        )
    assert not isod.containers.calls
    assert not isod.apps.calls


@pytest.mark.attack("C30")
async def test_properties_show_each_caller_his_own(isod: IsodSide, alice: Connection, bob: Connection) -> None:
    root = await isod.client(ROOT)
    seen = {}
    for name, client in (("alice", alice), ("bob", bob), ("root", root)):
        values = (await call(client, "GetAll", "s", [names.CONTAINER], path=SHARED, **PROPERTIES_GET))[0]
        one = (await call(client, "Get", "ss", [names.CONTAINER, "Apps"], path=SHARED, **PROPERTIES_GET))[0]
        assert one.value == values["Apps"].value
        assert set(values) == {item.name for item in PROPERTIES if item.interface == names.CONTAINER}
        seen[name] = (values["Apps"].value, values["User"].value)
    alices, bobs = names.app_path(ALICES_APP), names.app_path(BOBS_APP)
    assert seen == {
        "alice": ([alices], f"account-{ALICE}"),
        "bob": ([bobs], f"account-{BOB}"),
        "root": ([alices, bobs], "account-0"),
    }
    listed = [entry[0] for entry in (await call(bob, "ListContainers"))[0]]
    assert listed == [SHARED]
    xml = (await call(bob, "Introspect", path=names.CONTAINER_PATH_PREFIX[:-1], interface=names.INTROSPECTABLE))[0]
    assert "shared" in xml
    assert "blog" not in xml


@pytest.mark.attack("C07")
@pytest.mark.parametrize("interface", [names.CONTAINER, names.APP, "org.example.Other"])
async def test_no_property_can_be_set_by_anybody(isod: IsodSide, alice: Connection, interface: str) -> None:
    root = await isod.client(ROOT)
    for client in (alice, root):
        for path in (BLOG, names.ROOT_PATH, names.container_path("absent")):
            body = [interface, "State", Variant("s", "stopped")]
            assert (await refused(client, "Set", "ssv", body, path=path, **PROPERTIES_GET))[0] == "PropertyReadOnly"


async def test_a_property_that_is_not_there_is_named_as_such(alice: Connection) -> None:
    for body, name in (
        ([names.CONTAINER, "problem"], "UnknownProperty"),
        ([names.MANAGER, "Version"], "UnknownInterface"),
        (["", "State"], "UnknownInterface"),
    ):
        assert (await refused(alice, "Get", "ss", body, path=BLOG, **PROPERTIES_GET))[0] == name


@pytest.mark.attack("C30")
async def test_a_fault_of_ours_gives_an_id_and_says_nothing(
    isod: IsodSide, alice: Connection, caplog: pytest.LogCaptureFixture
) -> None:
    """5.2: dbus-next sends the traceback to the caller."""
    isod.containers.fault = RuntimeError("/root/secret")
    with caplog.at_level(logging.ERROR):
        name, text = await refused(alice, "Stop", "a{sv}", [{}], path=BLOG, interface=names.CONTAINER)
    assert name == "Internal"
    assert "secret" not in text
    assert "Traceback" not in text
    [record] = [record for record in caplog.records if record.message == "call.failed"]
    assert record.__dict__["incident"] in text
    assert "/root/secret" in (record.exc_text or "")
    assert await call(alice, "ListContainers")


@pytest.mark.attack("C07")
@pytest.mark.parametrize(
    ("unit", "slice_unit"),
    [
        ("container@blog.service", "system.slice"),
        ("machine-fedora.scope", "user-1000.slice"),
        ("libpod-abc.scope", "system.slice"),
        ("my-own-container.service", "machine.slice"),
        ("session-1.scope", "machine-blog.slice"),
    ],
)
async def test_a_caller_out_of_a_container_is_nobody(
    isod: IsodSide, alice: Connection, unit: str, slice_unit: str
) -> None:
    """Numbers are the same inside: a container's uid 0 must not count as the host's."""
    isod.systemd.unit, isod.systemd.slice = unit, slice_unit
    for client in (alice, await isod.client(ROOT)):
        assert await refused(client, "ListContainers") == ("AccessDenied", "Processes of containers can't call isod")


@pytest.mark.attack("C06")
async def test_a_caller_of_whom_nothing_is_known_is_nobody_and_asked_about_again(
    isod: IsodSide, alice: Connection
) -> None:
    isod.systemd.answers = False
    assert await refused(alice, "ListContainers") == ("AccessDenied", "Your credentials can't be established")
    isod.systemd.answers = True
    assert await call(alice, "ListContainers")


# -- the audit


async def test_each_decision_is_one_record(isod: IsodSide, alice: Connection, bob: Connection) -> None:
    stop = {"path": names.app_path(ALICES_APP), "interface": names.APP}
    await call(alice, "Stop", **stop)
    await refused(bob, "Stop", **stop)
    isod.containers.fault = ContainerGone(container="blog", reason="it stopped")
    await refused(alice, "OpenLog", "a{sv}", [{}], path=BLOG, interface=names.CONTAINER)
    claim = {"via": Variant("a{sv}", {"pid": Variant("u", 42), "unit": Variant("s", "app.scope")})}
    secret = {"environment": Variant("as", ["TOKEN=hunter2"])}
    isod.launcher.fault = UnsafeFd(argument="stdin", reason="a regular file")
    await refused(alice, "Run", "sasa{sv}", ["blog", ["a\nb"], {**claim, **secret}])
    told = [
        (record["uid"], record["method"], record["outcome"], record["rule"], record["error"])
        for record in isod.audit.decisions()
    ]
    assert told == [
        (ALICE, "App.Stop", "allowed", "owner", None),
        (BOB, "App.Stop", "refused", "access", "org.isoctl1.Error.NoSuchApplication"),
        (ALICE, "Container.OpenLog", "failed", "visible", "org.isoctl1.Error.ContainerGone"),
        (ALICE, "Manager.Run", "refused", "visible", "org.isoctl1.Error.UnsafeFd"),
    ]
    run = isod.audit.decisions(method="Manager.Run")[0]
    assert (run["argv"], run["environment"]) == (("a\nb",), ("TOKEN",))
    assert (run["claimed_pid"], run["claimed_unit"], run["caller_unit"]) == (42, "app.scope", "session-1.scope")
    assert "hunter2" not in str(isod.audit.records)


async def test_reading_leaves_no_record_and_what_the_core_decides_is_left_to_it(
    isod: IsodSide, alice: Connection
) -> None:
    for member in ("ListContainers", "ListApps", "Subscribe"):
        await call(alice, member)
    await call(alice, "GetAll", "s", [names.CONTAINER], path=BLOG, **PROPERTIES_GET)
    await call(alice, "Run", *RUN)
    for member in ("Start", "Stop", "Restart"):
        await call(alice, member, "a{sv}", [{}], path=BLOG, interface=names.CONTAINER)
    await call(alice, "Grant", "a{sv}", [{"gpu": Variant("s", "render")}], path=BLOG, interface=names.CONTAINER)
    await call(alice, "Revoke", "as", [["gpu"]], path=BLOG, interface=names.CONTAINER)
    assert isod.containers.calls[-2:] == [("grant {'gpu': 'render'}", "blog", ALICE), ("revoke ['gpu']", "blog", ALICE)]
    core = {method.name for method in METHODS if method.access in (Access.USE, Access.MANAGE, Access.GRANT)}
    assert core == {"Run", "Start", "Stop", "Restart", "Grant", "Revoke"}
    assert not isod.audit.decisions()


@pytest.mark.attack("C16")
async def test_a_flood_of_refusals_is_told_once_and_then_counted(
    isod: IsodSide, alice: Connection, bob: Connection
) -> None:
    """S16: whoever may call must not be able to push others' records out of the journal."""
    for _ in range(50):
        await refused(alice, "Walk")
    await refused(bob, "Walk")
    assert len(isod.audit.decisions(uid=ALICE)) == 1
    assert len(isod.audit.decisions(uid=BOB)) == 1
    await until(lambda: len(isod.audit.decisions(uid=ALICE)) == 2)
    late = isod.audit.decisions(uid=ALICE)[1]
    assert (late["outcome"], late["suppressed"]) == ("refused", 48)
