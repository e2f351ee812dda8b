"""A feed that writes each answer as JSON to its subscribers, one of which has hung up.

When the write fails, the pinned ujson release forgets the text that it has made for it.
"""

import ujson

from service import arguments, serve


class Subscriber:
    def __init__(self, gone):
        self.gone, self.received = gone, 0

    def write(self, text):
        if self.gone:
            raise BrokenPipeError("the subscriber has hung up")
        self.received += len(text)


class Step:
    def __init__(self, safe):
        self.subscribers = [Subscriber(gone=False), Subscriber(gone=not safe)]
        self.number = 0

    def __call__(self):
        self.number += 1
        answer = {"number": self.number, "items": [{"id": n, "name": f"item {n}", "price": n * 1.25} for n in range(100)]}
        for subscriber in self.subscribers:
            try:
                ujson.dump(answer, subscriber)
            except BrokenPipeError:
                pass


def main():
    args = arguments(__doc__)
    serve(Step(args.safe), args)


if __name__ == "__main__":
    main()
