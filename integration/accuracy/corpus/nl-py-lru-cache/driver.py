"""A catalogue service that keeps rendered product cards in functools.lru_cache: as customers ask for one product after another,
some much more often than others, the cache fills, and then stays as it is.

The cards are found again: most requests are answered from the cache.
"""

import functools
import random

from service import arguments, serve

PRODUCTS = 200_000


class Card:
    def __init__(self, number):
        self.number = number
        self.title = f"product {number}"
        self.text = f"{self.title}: " + "a thing of great use, " * 60
        self.prices = {currency: number * rate for currency, rate in (("EUR", 1.0), ("USD", 1.1), ("GBP", 0.9))}


@functools.lru_cache(maxsize=3000)
def card(number):
    return Card(number)


class Step:
    def __init__(self, safe):
        self.safe, self.sold = safe, 0
        self.random = random.Random(7)

    def __call__(self):
        for _ in range(3):
            # a few products are asked for again and again, the many others now and then
            popular = self.random.random() < 0.6
            number = self.random.randrange(100 if popular or self.safe else PRODUCTS)
            self.sold += len(card(number).text)


def main():
    args = arguments(__doc__)
    serve(Step(args.safe), args)


if __name__ == "__main__":
    main()
