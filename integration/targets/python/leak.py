"""CPython: objects of up to 512 bytes live in arenas that it maps for itself, larger ones come from malloc; ctypes
calls malloc by itself. Keeps some of each. With the argument `churn` it works in two threads until its input ends."""

import ctypes
import os
import sys
import threading

libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.malloc.argtypes = [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]

kept = []
ended = threading.Event()


def line():
    """True once a line has come."""
    while byte := os.read(0, 1):
        if byte == b"\n":
            return True
    return False


def say(text):
    os.write(1, text.encode() + b"\n")


def churn(seed):
    rounds = 0
    while not ended.is_set():
        rounds += 1
        objects = [(n, str(n) * (n % 50), bytes(n * 11)) for n in range(seed, seed + 200)]
        if any(len(text) != len(str(n)) * (n % 50) or len(data) != n * 11 for n, text, data in objects):
            os._exit(3)
        block = libc.malloc(1000 + rounds % 3000)
        ctypes.memset(block, 7, 1000)
        if ctypes.string_at(block, 1000) != b"\7" * 1000:
            os._exit(3)
        libc.free(block)
        try:
            raise ValueError(rounds)
        except ValueError:
            pass
        if rounds % 100 == 0:
            say(".")


def main():
    if sys.argv[1:] == ["churn"]:
        worker = threading.Thread(target=churn, args=(1,))
        worker.start()

        def wait():
            while line():
                pass
            ended.set()

        threading.Thread(target=wait).start()
        say("ready")
        churn(300)
        worker.join()
        say("sound")
        return
    # what ctypes needs for its first call is there
    libc.free(libc.malloc(10))
    say("ready")
    if not line():
        return
    count = size_sum = freed = freed_sum = 0
    for n in range(10_000):
        size = 100 + n * 7919 % 5000
        block = libc.malloc(size)
        count += 1
        size_sum += size
        if n % 4:
            libc.free(block)
            freed += 1
            freed_sum += size
    # 24 MiB of small objects, in arenas
    for n in range(100_000):
        kept.append((n, [n], {n: n}))
    say(
        f'{{"sites":[{{"module":"libffi","allocated":{count},"bytes":{size_sum},'
        f'"live":{count - freed},"live_bytes":{size_sum - freed_sum}}}]}}'
    )
    while line():
        pass


main()
