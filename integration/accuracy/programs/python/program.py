"""A Python service: program.py SHAPE [--rate MB_PER_MIN] [--size MIB] --seed N

The functions whose names begin with `leak_` name what they let leak; the others leak nothing.
"""

import argparse
import gc
import json
import math
import os
import random
import sys
import threading
import time
from collections import OrderedDict

BEATS = 20
MIB = 1 << 20
# Who asks a cache for something: what is in it has been asked for, or it would not be there, and will be again.
READS_A_WRITE = 20
BEGIN = time.monotonic()


def say(**what):
    print(json.dumps({"at": round(time.time(), 3), **what}), flush=True)


def end_with_input():
    while os.read(0, 64):
        pass
    os._exit(0)


def pause():
    time.sleep(1 / BEATS)


class Truth:
    """What has leaked so far."""

    def __init__(self):
        self.sum = self.told = 0

    def leaked(self, size):
        self.sum += size
        if self.sum >= self.told + MIB:
            self.told = self.sum
            say(leaked=self.sum)


def follow(keep, rate, load=False):
    """Lets keep() leak so many bytes a second, and what a request needs beside come and go."""
    truth, owed, last = Truth(), 0.0, time.monotonic()
    while True:
        now = time.monotonic()
        owed += rate * (1 + 0.8 * math.sin((now - BEGIN) * 2 * math.pi / 240) if load else 1) * (now - last)
        last = now
        while owed > 0:
            kept = keep()
            owed -= kept
            truth.leaked(kept)
        [bytes(random.randint(100, 2000)) for _ in range(100)]
        pause()


def leak(function, mb_per_min, *callees, **how):
    """What function() leaks, it or one of its callees has allocated."""
    functions = [one.__qualname__ for one in (function, *callees)]
    say(leaks=True, functions=functions, mb_per_min=round(mb_per_min, 3))
    follow(function, mb_per_min * MIB / 60, **how)


class Service:
    def __init__(self):
        self.answers = {}
        self.log = []

    def remember_answer(self):
        """A cache by the whole request, so that nothing is ever found in it."""
        key = f"/search?q={random.random()}"
        self.answers[key] = {"body": "x" * random.randint(200, 1200), "status": 200}
        return sys.getsizeof(key) + sys.getsizeof(self.answers[key]) + 800 + 100

    def append_line(self):
        self.log.append("%d " % len(self.log) + "l" * 400)
        return sys.getsizeof(self.log[-1]) + 8

    def keep_upload(self):
        """Large blocks, which the C library maps or takes from its heap."""
        self.log.append(os.urandom(60_000))
        return 60_033


class Knot:
    def __init__(self):
        self.me = self
        self.load = [0.5 + i for i in range(40)]


def tie_knot():
    """A circle that nobody collects."""
    Knot()
    return 2000


def leak_answers(rate):
    leak(Service().remember_answer, rate)


def leak_answers_under_load(rate):
    leak(Service().remember_answer, rate, load=True)


def leak_log(rate):
    leak(Service().append_line, rate)


def leak_uploads(rate):
    leak(Service().keep_upload, rate)


def leak_knots(rate):
    gc.disable()
    leak(tie_knot, rate, Knot.__init__)


def leak_in_thread(rate):
    for _ in range(6):
        threading.Thread(target=lambda: [pause() for _ in iter(int, 1)], daemon=True).start()
    threading.Thread(target=leak_answers, args=(rate,), daemon=True).start()
    while True:
        time.sleep(60)


def end_with(parent):
    while os.getppid() == parent:
        pause()
    os._exit(0)


def leak_in_worker(rate):
    parent = os.getpid()
    if os.fork():
        end_with_input()
    threading.Thread(target=end_with, args=(parent,), daemon=True).start()
    leak_answers(rate)


def lru(size):
    """Full after three minutes, and asked for what was put in, mostly of late."""
    entries, room = OrderedDict(), size // 1200
    for n in range(1 << 60):
        entries[n] = "v" * 1000
        for _ in range(READS_A_WRITE):
            back = len(entries) if random.random() < 0.4 else len(entries) // 5
            asked_for = entries.get(n - random.randrange(back + 1))
            assert asked_for is None or asked_for[0] == "v"
        if len(entries) > room:
            entries.popitem(last=False)
        if n % (room // 180 // BEATS + 1) == 0:
            pause()


def batch(size):
    """Rows are kept until the report is done."""
    while True:
        rows = []
        for n in range(size // 1100):
            rows.append(("r%d" % n) + "x" * 1000)
            if n % (size // 1100 // 700 + 1) == 0:
                pause()
        rows.clear()
        time.sleep(4)


def knots(size):
    """Circles that the collector takes apart from time to time."""
    gc.set_threshold(max(700, size // 4000), 5, 5)
    while True:
        for _ in range(20):
            Knot()
        pause()


def warm_up(size):
    """Tables that come with the first requests of each kind."""
    tables, held = [], 0
    while True:
        due = size * (1 - math.exp(-(time.monotonic() - BEGIN) / 25))
        while held < due:
            tables.append("t" * 2000)
            held += 2049
        pause()


def day_and_night(size):
    """Sessions that come and go with the load."""
    sessions = []
    while True:
        load = 0.5 - 0.5 * math.cos((time.monotonic() - BEGIN) * 2 * math.pi / 500)
        wanted = int(size / 1100 * (0.1 + 0.85 * load))
        while len(sessions) < wanted:
            sessions.append("s" * 1000)
        del sessions[wanted:]
        pause()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("shape")
    parser.add_argument("--rate", type=float, default=3)
    parser.add_argument("--size", type=float, default=12)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    random.seed(arguments.seed)
    by = random.uniform(0.75, 1.33)
    threading.Thread(target=end_with_input, daemon=True).start()
    shape = globals()[arguments.shape.replace("-", "_")]
    if arguments.shape.startswith("leak-"):
        shape(arguments.rate * by)
    say(leaks=False)
    shape(int(arguments.size * by * MIB))


main()
