"""What a page costs that Python touches for the first time, so many calls deep: for each line `touch CALLS COUNT` it does that
so often, with pauses between, and prints the middle of the nanoseconds that one took."""

import mmap
import os
import statistics
import sys
import time

PAGE = 4096


def touch(count):
    pages = mmap.mmap(-1, count * PAGE)
    # one fault a page
    pages.madvise(mmap.MADV_NOHUGEPAGE)
    taken = []
    for at in range(0, count * PAGE, PAGE):
        time.sleep(0.0015)
        before = time.perf_counter_ns()
        pages[at] = 1
        taken.append(time.perf_counter_ns() - before)
    pages.close()
    return statistics.median(taken)


def descend(calls, count):
    return descend(calls - 1, count) if calls > 0 else touch(count)


os.write(1, b"ready\n")
for order in sys.stdin:
    kind, calls, count = order.split()
    os.write(1, f"{descend(int(calls), int(count))}\n".encode())
