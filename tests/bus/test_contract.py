"""What the contract says, and what isod does: every property, every action of Explain, every error's name."""

import ast
import re
from pathlib import Path
from typing import Any

import pytest

from core_fakes import ALICE, CLD_EXITED, Core, running, until
from isod.bus.objects.app import AppObject
from isod.bus.objects.container import ContainerObject
from isod.bus.objects.manager import ManagerObject
from isod.core.events import Listener
from isod_contract import names
from isod_contract.emits import Emits
from isod_contract.errors import IsodError
from isod_contract.methods import EXPLAINED_ACTIONS, METHOD_INDEX, PROPERTIES
from isod_side import ALICES_APP, IsodSide, call, refused
from isod_wire import Connection

ROOT = Path(__file__).resolve().parents[2]
PATHS = {
    names.MANAGER: names.ROOT_PATH,
    names.CONTAINER: names.container_path("blog"),
    names.APP: names.app_path(ALICES_APP),
}


def emitted(event: str) -> set[str]:
    """Give the names of properties that any code of the core says have changed, by `events.EVENT(object, *names)`."""
    found: set[str] = set()
    for path in (ROOT / "daemon/isod").rglob("*.py"):
        text = path.read_text()
        if f".{event}(" not in text:
            continue
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == event:
                found |= {arg.value for arg in node.args if isinstance(arg, ast.Constant)}
                if any(isinstance(arg, ast.Starred) for arg in node.args):
                    # A list that was put together before: its names stand in the same module.
                    found |= set(re.findall(r'"([A-Z][A-Za-z]+)"', text))
    return found


@pytest.mark.parametrize(("interface", "event"), [(names.CONTAINER, "container_changed"), (names.APP, "app_changed")])
def test_each_property_that_is_declared_to_tell_its_changes_is_told_somewhere(interface: str, event: str) -> None:
    """B6: Container.Apps was declared to, and nothing ever told of it."""
    declared = {item.name for item in PROPERTIES if item.interface == interface and item.emits is Emits.TRUE}
    assert declared
    assert declared <= emitted(event)
    assert not [item for item in PROPERTIES if item.interface == names.MANAGER and item.emits is Emits.TRUE]


@pytest.mark.parametrize("item", PROPERTIES, ids=[f"{item.interface}.{item.name}" for item in PROPERTIES])
async def test_each_property_is_there_with_its_type_and_annotation(
    isod: IsodSide, alice: Connection, item: Any
) -> None:
    """B6: what changes was declared constant, and clients that cache were shown the first value for ever."""
    path = PATHS[item.interface]
    (value,) = await call(alice, "Get", "ss", [item.interface, item.name], path=path, interface=names.PROPERTIES)
    assert value.signature == item.signature
    (everything,) = await call(alice, "GetAll", "s", [item.interface], path=path, interface=names.PROPERTIES)
    assert everything[item.name] == value
    (xml,) = await call(alice, "Introspect", path=path, interface=names.INTROSPECTABLE)
    (element,) = re.findall(rf'<property name="{item.name}".*?</property>', xml, re.DOTALL)
    assert f'EmitsChangedSignal" value="{item.emits}"' in element


async def test_what_changes_in_the_life_of_an_app_is_told_or_declared_not_to_be(tmp_path: Path) -> None:
    told: set[str] = set()

    class Ear(Listener):
        def app_changed(self, _app: Any, changed: frozenset[str]) -> None:
            told.update(changed)

    core = Core(tmp_path)
    core.apps._events.listen(Ear())
    core.containers.hold.clear()
    app = core.launch("sh")
    shown = AppObject(apps=core.apps).properties
    before = shown(app)
    core.containers.hold.set()
    await running_now(core, app)
    between = shown(app)
    core.guest.tell(app.unit, ExecMainCode=CLD_EXITED, ExecMainStatus=7, SubState="exited", ActiveState="active")
    await until(lambda: app.ended and not app.record.running)
    after = shown(app)
    changed = {name for one, other in ((before, between), (between, after)) for name in one if one[name] != other[name]}
    emits = {item.name: item.emits for item in PROPERTIES if item.interface == names.APP}
    assert changed >= {"State", "ExitCode", "Running"}
    assert not [name for name in changed if emits[name] is Emits.CONST]
    assert {name for name in changed if emits[name] is Emits.TRUE} <= told


async def running_now(core: Core, app: Any) -> None:
    await until(lambda: app.record.state == "running")
    assert (await running(core, caller=ALICE)).record.running


async def test_every_action_of_explain_is_explained_and_no_other(isod: IsodSide, alice: Connection) -> None:
    """B4: `isoctl why blog grant` stood in the manual and was refused."""
    for action in EXPLAINED_ACTIONS:
        (decision,) = await call(alice, "Explain", "ssa{sv}", ["blog", action, {}])
        assert decision["outcome"].value == "allowed"
    for action in ("see", "", "dance", "Run"):
        name, text = await refused(alice, "Explain", "ssa{sv}", ["blog", action, {}])
        assert name == "InvalidArgument"
        assert all(known in text for known in EXPLAINED_ACTIONS)
    documented = METHOD_INDEX[names.MANAGER, "Explain"].doc
    manual = (ROOT / "docs/man/isoctl.1").read_text()
    for action in EXPLAINED_ACTIONS:
        assert action in documented
        assert re.search(rf"NAME \[.*{action}.*\]", manual)


def test_every_error_is_raised_somewhere_and_each_that_is_raised_is_declared() -> None:
    """An error that nothing raises is one that clients handle in vain."""
    text = "\n".join(path.read_text() for path in (ROOT / "daemon").rglob("*.py") if path.name != "errors.py")
    unused = [name for name in IsodError.registry if not re.search(rf"\b{name}\(", text)]
    assert unused == []


def test_every_object_has_exactly_its_declared_methods() -> None:
    handlers: dict[tuple[str, str], Any] = {}
    anything: Any = None
    for made in (
        ContainerObject(containers=anything, apps=anything, checks=anything),
        AppObject(apps=anything),
        ManagerObject(services=anything, subscriptions=anything, container_object=anything, lists=anything),
    ):
        handlers |= made.handlers()
    assert handlers.keys() == METHOD_INDEX.keys()
