"""A site of static pages behind nginx: its worker keeps descriptions of the files that were asked for of late, up to a number.

With --safe it keeps none.
"""

import http.client
import os
import random
import socket
import subprocess
import time

from service import arguments, serve

SOCKET = os.path.abspath("nginx.sock")
PAGES = 3000
CONF = """
daemon off; worker_processes 2; pid nginx.pid; error_log stderr crit;
events {{ worker_connections 64; }}
http {{
  access_log off; keepalive_timeout 1d; client_body_temp_path temp; proxy_temp_path temp; fastcgi_temp_path temp;
  uwsgi_temp_path temp; scgi_temp_path temp; {cache}
  server {{ listen unix:{socket}; root site; gzip on; gzip_min_length 0; gzip_types *; }}
}}
"""


class Connection(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(SOCKET)


class Step:
    def __init__(self):
        self.connection, self.dice = Connection("localhost"), random.Random(1)

    def __call__(self):
        page = int(PAGES * self.dice.random() ** 2)
        self.connection.request("GET", f"/{page}.html", headers={"Accept-Encoding": "gzip"})
        answer = self.connection.getresponse()
        assert answer.status == 200 and answer.read()


def main():
    args = arguments(__doc__)
    os.makedirs("site", exist_ok=True)
    for page in range(PAGES):
        with open(f"site/{page}.html", "w") as file:
            file.write(f"<html><body><h1>{page}</h1>" + "<p>text</p>" * (page % 200) + "</body></html>")
    cache = "" if args.safe else "open_file_cache max=2000 inactive=60s; open_file_cache_errors on;"
    with open("nginx.conf", "w") as file:
        # a worker of root's stays root's: the files are in a folder that is nobody else's
        user = "user root;" if os.getuid() == 0 else ""
        file.write(user + CONF.format(cache=cache, socket=SOCKET))
    if os.path.exists(SOCKET):
        os.remove(SOCKET)
    nginx = "nginx" if os.access("/usr/bin/nginx", os.X_OK) else "/usr/sbin/nginx"
    server = subprocess.Popen([nginx, "-p", os.getcwd(), "-c", "nginx.conf"])
    while not os.path.exists(SOCKET):
        if server.poll() is not None:
            raise RuntimeError("nginx has ended")
        time.sleep(0.05)
    serve(Step(), args)
    server.terminate()


if __name__ == "__main__":
    main()
