"""For each line a fixed amount of work with sqlite in memory; prints the seconds of CPU time it took."""

import sqlite3
import sys
import time


def work():
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


work()
print("ready", flush=True)
for _ in sys.stdin:
    begin = time.process_time()
    for _ in range(8):
        work()
    print(time.process_time() - begin, flush=True)
