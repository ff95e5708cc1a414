"""Run on the lab host as the user: takes the desktop notifications of a session and writes each as a line of JSON."""

import json

from jeepney import HeaderFields, message_bus, new_error, new_method_return
from jeepney.io.blocking import Proxy, open_dbus_connection

NAME = "org.freedesktop.Notifications"
FIELDS = ("app_name", "replaces_id", "icon", "summary", "body", "actions", "hints", "timeout_ms")


def main() -> None:
    """Serve until killed."""
    count = 0
    with open_dbus_connection("SESSION") as bus:
        # 4: never wait in a queue for the name
        if Proxy(message_bus, bus).RequestName(NAME, 4) != (1,):
            raise SystemExit(f"{NAME} is taken")
        print(json.dumps({"ready": True}), flush=True)
        while True:
            call = bus.receive()
            member = call.header.fields.get(HeaderFields.member)
            if call.header.fields.get(HeaderFields.interface) != NAME:
                continue
            if member == "Notify":
                count += 1
                record = dict(zip(FIELDS, call.body, strict=True))
                record["hints"] = {name: value for name, (_, value) in record["hints"].items()}
                print(json.dumps({"id": count, **record}, default=repr), flush=True)
                bus.send(new_method_return(call, "u", (call.body[1] or count,)))
            elif member == "GetCapabilities":
                bus.send(new_method_return(call, "as", (["body", "actions"],)))
            elif member == "GetServerInformation":
                bus.send(new_method_return(call, "ssss", ("lab", "lab", "1", "1.2")))
            elif member == "CloseNotification":
                bus.send(new_method_return(call))
            else:
                bus.send(new_error(call, "org.freedesktop.DBus.Error.UnknownMethod"))


if __name__ == "__main__":
    main()
