"""For each line a fixed amount of work with sqlite in memory; prints the seconds of CPU time it took.

`kept`: rows are replaced and read in one database that stays. `anew`: databases are made, filled, asked and dropped.
"""

import random
import sqlite3
import sys
import time


class Kept:
    def __init__(self):
        self.random = random.Random(1)
        self.base = sqlite3.connect(":memory:")
        self.base.execute("create table notes (id integer primary key, text text)")
        for _ in range(4):
            self.work()

    def work(self):
        for _ in range(5000):
            number = self.random.randrange(5000)
            note = (number, "n" * self.random.randrange(1, 900))
            self.base.execute("insert or replace into notes values (?, ?)", note)
            query = "select text from notes where id between ? and ?"
            if note[1:] not in self.base.execute(query, (number, number + 20)).fetchall():
                sys.exit(3)


class Anew:
    def work(self):
        base = sqlite3.connect(":memory:")
        base.execute("create table orders (id integer primary key, customer text, total real)")
        base.execute("create index by_customer on orders (customer)")
        rows = [(n, f"customer {n * 7919 % 500}", n * 1.5) for n in range(8000)]
        base.executemany("insert into orders values (?, ?, ?)", rows)
        found = 0
        for n in range(500):
            query = "select count(*), sum(total) from orders where customer = ?"
            found += base.execute(query, (f"customer {n}",)).fetchone()[0]
        base.execute("delete from orders where id % 3 = 0")
        base.close()
        if found != 8000:
            sys.exit(3)


worker = {"kept": Kept, "anew": Anew}[sys.argv[1]]()
worker.work()
print("ready", flush=True)
for _ in sys.stdin:
    begin = time.process_time()
    for _ in range(8):
        worker.work()
    print(time.process_time() - begin, flush=True)
