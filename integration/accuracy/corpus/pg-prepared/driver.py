"""A service that prepares each statement under a new name, on a connection that it keeps: PostgreSQL keeps every one of them until
the connection ends.

With --safe it gives each back.
"""

import glob
import os
import shutil
import socket
import struct
import subprocess
import tempfile
import time

from service import arguments, serve

NOBODY = 65534


def program(name):
    found = shutil.which(name) or next(iter(sorted(glob.glob(f"/usr/lib/postgresql/*/bin/{name}"), reverse=True)), None)
    if found is None:
        raise RuntimeError(f"there is no {name}")
    # the server refuses to run as root
    as_nobody = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    return [*(as_nobody if os.getuid() == 0 else []), found]


class Client:
    """The little of the protocol, version 3, that simple queries need."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(path)
        self.reader = self.socket.makefile("rb")
        words = b"user\0postgres\0database\0postgres\0\0"
        self.socket.sendall(struct.pack("!ii", len(words) + 8, 3 << 16) + words)
        self.until_ready()

    def until_ready(self):
        while True:
            kind, length = struct.unpack("!ci", self.reader.read(5))
            body = self.reader.read(length - 4)
            if kind == b"E":
                raise RuntimeError(body.decode(errors="replace"))
            if kind == b"Z":
                return

    def ask(self, text):
        query = text.encode() + b"\0"
        self.socket.sendall(b"Q" + struct.pack("!i", len(query) + 4) + query)
        self.until_ready()


class Step:
    def __init__(self, client, safe):
        self.client, self.safe, self.number = client, safe, 0
        client.ask("CREATE TABLE item (id int PRIMARY KEY, name text, price int)")
        client.ask("INSERT INTO item SELECT n, 'item ' || n, n % 100 FROM generate_series(1, 1000) n")

    def __call__(self):
        self.number += 1
        name = f"find_{self.number}"
        self.client.ask(f"PREPARE {name} (int) AS SELECT name, price FROM item WHERE id = $1 AND price < {self.number % 90 + 10}")
        self.client.ask(f"EXECUTE {name} ({self.number % 1000 + 1})")
        if self.safe:
            self.client.ask(f"DEALLOCATE {name}")


def main():
    args = arguments(__doc__)
    folder = tempfile.mkdtemp(prefix="mlh-pg-")
    try:
        if os.getuid() == 0:
            os.chown(folder, NOBODY, NOBODY)
        data = f"{folder}/data"
        subprocess.run([*program("initdb"), "-D", data, "-U", "postgres", "-A", "trust", "--no-sync"], check=True, cwd=folder,
                       stdout=subprocess.DEVNULL)
        options = ["-k", folder, "-c", "listen_addresses=", "-c", "shared_buffers=16MB", "-c", "autovacuum=off", "-F"]
        server = subprocess.Popen([*program("postgres"), "-D", data, *options], cwd=folder, stderr=subprocess.DEVNULL)
        path = f"{folder}/.s.PGSQL.5432"
        while True:
            if server.poll() is not None:
                raise RuntimeError("postgres has ended")
            try:
                client = Client(path)
                break
            except (OSError, RuntimeError, struct.error):
                time.sleep(0.1)
        serve(Step(client, args.safe), args)
        server.terminate()
        server.wait()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
