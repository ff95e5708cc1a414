"""Runs inside a container: tells when a device can be opened, and when it can't any more, by the monotonic clock."""

import os
import sys
import time

node, runs = sys.argv[1], int(sys.argv[2])
print("ready", flush=True)
for _ in range(runs):
    for wanted in (True, False):
        while True:
            try:
                os.close(os.open(node, os.O_RDONLY))
                opens = True
            except OSError:
                opens = False
            if opens is wanted:
                break
            time.sleep(0.001)
        print(time.monotonic(), flush=True)
