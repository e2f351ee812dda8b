"""Keeps memory, or lets go of it, as it is told. Before it begins it leaves a child behind that shares its memory."""

import gc
import os
import sys


class Order:
    def __init__(self, number):
        self.number = number
        self.lines = [number]


SHARED = 32 << 20
shared = bytearray(b"x") * SHARED
kept = []

reading, writing = os.pipe()
if os.fork() == 0:
    os.close(writing)
    os.read(reading, 1)
    os._exit(0)

print("ready", flush=True)
for line in sys.stdin:
    order = line.strip()
    if order == "keep":
        kept.extend(Order(number) for number in range(20000))
    elif order == "copy":
        for at in range(0, SHARED, 4096):
            shared[at] = 1
    elif order == "freeze":
        gc.freeze()
    elif order == "let go":
        kept.clear()
    gc.collect(0 if order == "collect the youngest" else 2)
    print("done", flush=True)
