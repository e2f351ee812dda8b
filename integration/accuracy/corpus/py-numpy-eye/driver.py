"""A tracker that updates the state of an object by a Kalman filter, for each reading.

The pinned numpy release does not give back the iterator by which eye() fills the diagonal.
"""

import numpy as np

from service import arguments, serve


class Step:
    def __init__(self, safe):
        self.kept = np.eye(4) if safe else None
        self.state, self.spread = np.zeros(4), np.ones((4, 4))
        self.readings = np.random.default_rng(1)

    def __call__(self):
        unit = np.eye(4) if self.kept is None else self.kept
        predicted = self.spread + 0.01 * unit
        gain = predicted @ np.linalg.inv(predicted + 0.5 * unit)
        self.state = self.state + gain @ (self.readings.normal(size=4) - self.state)
        self.spread = (unit - gain) @ predicted


def main():
    args = arguments(__doc__)
    serve(Step(args.safe), args)


if __name__ == "__main__":
    main()
