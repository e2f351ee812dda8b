"""Leaks in one function, reached through methods, a generator and a lambda, beside requests that give back what they take:
250 times a second, from the line `go` to the next line, which it answers with what it has leaked."""

import os
import select

LEAK = 20_000
SCRATCH = 600
BATCH = 1 << 20

kept = [None] * 100_000
kept.clear()


def say(text):
    os.write(1, text.encode() + b"\n")


def line():
    """True once a line has come."""
    while byte := os.read(0, 1):
        if byte == b"\n":
            return True
    return False


def leak_site():
    kept.append(bytearray(LEAK))


def give_back(size):
    return len(bytearray(size))


def remember(number):
    give_back(SCRATCH + number % 7 * 50)
    leak_site()


class Search:
    def handle(self, number):
        if number % 25 == 0:
            give_back(BATCH)
        remember(number)


def upload(number):
    give_back(SCRATCH)
    yield remember(number)


handlers = [lambda number: remember(number), Search().handle, lambda number: list(upload(number))]


def route(number):
    handlers[number % 3](number)


def main():
    give_back(BATCH)
    say("ready")
    if not line():
        return
    number = 0
    while not select.select([0], [], [], 0.004)[0]:
        route(number)
        number += 1
    line()
    blocks = len(kept)
    figures = f'"allocated":{blocks},"bytes":{blocks * LEAK},"live":{blocks},"live_bytes":{blocks * LEAK}'
    say(f'{{"sites":[{{"function":"leak_site",{figures}}}]}}')
    while line():
        pass


main()
