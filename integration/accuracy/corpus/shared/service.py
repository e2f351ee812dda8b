"""What the Python cases have in common: their arguments, and the pace at which they work."""

import argparse
import time


def arguments(about):
    """Those of a case, by the first line of what it says about itself."""
    ap = argparse.ArgumentParser(description=about.splitlines()[0])
    ap.add_argument("--rate", type=float, required=True, help="operations a second")
    ap.add_argument("--duration", type=float, required=True, help="seconds to run")
    ap.add_argument("--safe", action="store_true", help="leave the faulty call out")
    return ap.parse_args()


def serve(step, args):
    """Calls step() at the rate, for the duration."""
    nxt = time.monotonic()
    end = nxt + args.duration
    done = 0
    while time.monotonic() < end:
        step()
        done += 1
        nxt += 1.0 / args.rate
        pause = nxt - time.monotonic()
        if pause > 0:
            time.sleep(pause)
        else:
            nxt = time.monotonic()
    print("done", done, flush=True)
