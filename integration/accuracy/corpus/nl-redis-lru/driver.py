"""Sessions in a Redis that may use 16 MB, by visitors of whom few come often: it fills for minutes, and then evicts.

With --safe sessions last ten seconds, so that it never fills.
"""

import os
import random
import socket
import subprocess
import time

from service import arguments, serve

SOCKET = "redis.sock"
VISITORS = 200_000
SERVER = [
    "redis-server", "--port", "0", "--unixsocket", SOCKET, "--save", "", "--appendonly", "no",
    "--maxmemory", "16mb", "--maxmemory-policy", "allkeys-lru", "--loglevel", "warning",
]


class Client:
    def __init__(self):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(SOCKET)
        self.reader = self.socket.makefile("rb")

    def ask(self, *words):
        parts = [word if isinstance(word, bytes) else str(word).encode() for word in words]
        request = b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)
        self.socket.sendall(request)
        line = self.reader.readline()
        if line[:1] == b"-":
            raise RuntimeError(line.decode())
        if line[:1] == b"$" and line != b"$-1\r\n":
            return self.reader.read(int(line[1:]) + 2)[:-2]
        return None


class Step:
    def __init__(self, client, safe):
        self.client, self.dice = client, random.Random(1)
        self.expiry = ("EX", 10) if safe else ()

    def __call__(self):
        # every visit reads its session, and makes one where there is none
        for _ in range(4):
            visitor = int(VISITORS * self.dice.random() ** 3)
            if self.client.ask("GET", f"session:{visitor}") is None:
                cart = self.dice.randbytes(self.dice.randrange(200, 1200))
                self.client.ask("SET", f"session:{visitor}", cart, *self.expiry)


def main():
    args = arguments(__doc__)
    if os.path.exists(SOCKET):
        os.remove(SOCKET)
    server = subprocess.Popen(SERVER)
    while not os.path.exists(SOCKET):
        if server.poll() is not None:
            raise RuntimeError("redis-server has ended")
        time.sleep(0.05)
    serve(Step(Client(), args.safe), args)
    server.terminate()


if __name__ == "__main__":
    main()
