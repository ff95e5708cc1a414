"""Run in a session of sway: how long from starting a command to its window, by sway's own events."""

import json
import subprocess
import sys
import time


def main() -> None:
    """Print the times of argv[1] runs of the command, in milliseconds, as JSON."""
    runs, command = int(sys.argv[1]), sys.argv[2:]
    subscription = ["swaymsg", "-r", "-m", "-t", "subscribe", '["window"]']
    with subprocess.Popen(subscription, stdout=subprocess.PIPE, text=True) as events:
        assert events.stdout is not None
        time.sleep(0.5)  # nothing says when the subscription stands
        times = []
        for _ in range(runs + 1):
            began_sec = time.monotonic()
            with subprocess.Popen(command) as process:
                while json.loads(events.stdout.readline())["change"] != "new":
                    pass
                times.append((time.monotonic() - began_sec) * 1000)
                process.terminate()
            while json.loads(events.stdout.readline())["change"] != "close":
                pass
        events.terminate()
    # the first warms up
    sys.stdout.write(json.dumps(times[1:]))


if __name__ == "__main__":
    main()
