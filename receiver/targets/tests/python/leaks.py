"""Keeps memory, in one way for each line that is read. The line of code that does it ends with the name of that way."""

import functools
import os
import sqlite3
import sys
import threading

SIZE = 20_000
TIMES = 200

kept = []


def main_thread():
    for _ in range(TIMES):
        kept.append(bytearray(SIZE))  # main_thread


def second_thread():
    def work():
        for _ in range(TIMES):
            kept.append(bytearray(SIZE))  # second_thread

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


def generator():
    def produce():
        for _ in range(TIMES):
            kept.append(bytearray(SIZE))  # generator
            yield

    for _ in produce():
        pass


class Cache:
    def __init__(self):
        self.blocks = []

    def put(self):
        self.blocks.append(bytearray(SIZE))  # method


cache = Cache()


def method():
    for _ in range(TIMES):
        cache.put()


def recursion(depth=100):
    if depth:
        recursion(depth - 1)
    else:
        for _ in range(TIMES):
            kept.append(bytearray(SIZE))  # recursion


def called_from_c():
    def add(so_far, _):
        kept.append(bytearray(SIZE))  # called_from_c
        return so_far

    functools.reduce(add, range(TIMES), 0)


def expression():
    kept.append(
        [
            bytearray(SIZE)  # expression
            for _ in range(TIMES)
        ]
    )


def extension():
    connection = sqlite3.connect(":memory:")
    kept.append(connection)
    connection.execute("create table kept (block)")
    for _ in range(TIMES):
        connection.execute("insert into kept values (zeroblob(60000))")  # extension


def same_depth():
    def keep():
        kept.append(bytearray(SIZE))  # same_depth

    def drop():
        return len(bytearray(SIZE))  # same_depth_drop

    for _ in range(TIMES):
        keep()
        drop()


def pages():
    for _ in range(TIMES):
        kept.append(bytearray(50 * SIZE))  # pages


def unicode_naïve():
    for _ in range(TIMES):
        kept.append(bytearray(SIZE))  # unicode_naïve


print("ready", flush=True)
for line in sys.stdin:
    globals()[line.strip()]()
    # a sign for whoever listens: all of it has been done
    os.waitpid(os.posix_spawn("/bin/true", ["true"], {}), 0)
    print("done", flush=True)
