"""One process that beats, without MPI; test_watchdog.py starts several and puts them together.

It prints its port and addresses, reads the arguments of Heartbeat.start as JSON, and obeys lines: hold SECONDS (keeps
Python's lock), bye (stops in order), leave (stops silently). It prints the number of each line that it has obeyed.
"""

import ctypes
import json
import sys
import time

from mcmc.kernels.heartbeat import Heartbeat, addresses

heartbeat = Heartbeat()
print(heartbeat.port, *(address.hex() for address in addresses()), flush=True)
asked = json.loads(sys.stdin.readline())
if asked["parent"]:
    asked["parent"][2] = [bytes.fromhex(address) for address in asked["parent"][2]]
heartbeat.start(**(asked | {"token": bytes.fromhex(asked["token"])}))
for number, line in enumerate(sys.stdin):
    word, *seconds = line.split()
    if word == "hold":
        ctypes.PyDLL(None).usleep(int(1e6 * float(seconds[0])))  # PyDLL keeps the lock
    else:
        heartbeat.stop(word == "bye")
    print(number, flush=True)
time.sleep(60)  # until it is killed
