"""Run on the lab host: how long a client takes until it writes to its bus, of which this is the other end."""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time


def main() -> None:
    """Print the times of argv[1] runs of the command, in milliseconds, as JSON."""
    runs, command = int(sys.argv[1]), sys.argv[2:]
    with tempfile.TemporaryDirectory() as directory, socket.socket(socket.AF_UNIX) as bus:
        path = f"{directory}/bus"
        bus.bind(path)
        bus.listen()
        environment = {**os.environ, "DBUS_SYSTEM_BUS_ADDRESS": f"unix:path={path}"}
        times = []
        for _ in range(runs + 3):
            began = time.perf_counter()
            with subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL) as client:
                connection, _ = bus.accept()
                with connection:
                    connection.recv(1)
                    times.append((time.perf_counter() - began) * 1000)
                    client.send_signal(signal.SIGKILL)
    print(json.dumps(times[3:]))


main()
