"""Introspection data (D-Bus specification, "Introspection Data Format"), made from the contract."""

from collections.abc import Iterable
from xml.sax.saxutils import quoteattr

from isod_contract import names
from isod_contract.methods import METHODS, PROPERTIES, SIGNALS, Arg

INTERFACES = (names.MANAGER, names.CONTAINER, names.APP)

_DOCTYPE = """\
<!DOCTYPE node PUBLIC "-//freedesktop//DTD D-BUS Object Introspection 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/introspect.dtd">
"""
_STANDARD = """\
  <interface name="org.freedesktop.DBus.Peer">
    <method name="Ping"/>
  </interface>
  <interface name="org.freedesktop.DBus.Introspectable">
    <method name="Introspect">
      <arg name="data" type="s" direction="out"/>
    </method>
  </interface>
"""
_PROPERTIES = """\
  <interface name="org.freedesktop.DBus.Properties">
    <method name="Get">
      <arg name="interface" type="s" direction="in"/>
      <arg name="property" type="s" direction="in"/>
      <arg name="value" type="v" direction="out"/>
    </method>
    <method name="GetAll">
      <arg name="interface" type="s" direction="in"/>
      <arg name="properties" type="a{sv}" direction="out"/>
    </method>
    <signal name="PropertiesChanged">
      <arg name="interface" type="s"/>
      <arg name="changed_properties" type="a{sv}"/>
      <arg name="invalidated_properties" type="as"/>
    </signal>
  </interface>
"""


def interface_xml(interface: str, *, docs: bool = False) -> str:
    """Give the <interface> element of one of our interfaces, with what each member is for if `docs`."""
    parts = [f"  <interface name={quoteattr(interface)}>\n"]
    for method in (item for item in METHODS if item.interface == interface):
        inside = _doc(method.doc, docs) + _args(method.args, "in") + _args(method.returns, "out")
        parts.append(_element("method", f"name={quoteattr(method.name)}", inside))
    for signal in (item for item in SIGNALS if item.interface == interface):
        inside = _doc(signal.doc, docs) + _args(signal.args, "")
        parts.append(_element("signal", f"name={quoteattr(signal.name)}", inside))
    for item in (item for item in PROPERTIES if item.interface == interface):
        attributes = f'name={quoteattr(item.name)} type={quoteattr(item.signature)} access="read"'
        inside = _doc(item.doc, docs) + _annotation("org.freedesktop.DBus.Property.EmitsChangedSignal", item.emits)
        parts.append(_element("property", attributes, inside))
    return "".join([*parts, "  </interface>\n"])


def object_xml(interface: str, children: Iterable[str] = ()) -> str:
    """Give what Introspect answers on an object of ours; "" for a path that only leads to objects."""
    interfaces = _STANDARD + (_PROPERTIES + interface_xml(interface) if interface else "")
    nodes = "".join(f"  <node name={quoteattr(child)}/>\n" for child in children)
    return f"{_DOCTYPE}<node>\n{interfaces}{nodes}</node>\n"


def contract_xml() -> str:
    """Give the file that documents all three interfaces."""
    return f"{_DOCTYPE}<node>\n{''.join(interface_xml(name, docs=True) for name in INTERFACES)}</node>\n"


def _element(tag: str, attributes: str, inside: str) -> str:
    if not inside:
        return f"    <{tag} {attributes}/>\n"
    return f"    <{tag} {attributes}>\n{inside}    </{tag}>\n"


def _args(args: Iterable[Arg], direction: str) -> str:
    suffix = f' direction="{direction}"' if direction else ""
    return "".join(f"      <arg name={quoteattr(arg.name)} type={quoteattr(arg.signature)}{suffix}/>\n" for arg in args)


def _doc(text: str, wanted: bool) -> str:
    return _annotation("org.gtk.GDBus.DocString", text) if wanted else ""


def _annotation(name: str, value: str) -> str:
    return f"      <annotation name={quoteattr(name)} value={quoteattr(value)}/>\n"
