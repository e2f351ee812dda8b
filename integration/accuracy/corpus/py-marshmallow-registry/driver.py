"""A report service whose requests name the columns that they want: it makes a marshmallow schema of them, for each request.

The pinned marshmallow release puts each such class into its registry, also when one of the same name is there, for ever.
"""

import random

from marshmallow import Schema, fields

from service import arguments, serve

COLUMNS = {
    "id": fields.Int,
    "name": fields.Str,
    "price": fields.Float,
    "stock": fields.Int,
    "colour": fields.Str,
    "weight": fields.Float,
}
ROWS = [
    {"id": n, "name": f"item {n}", "price": n * 1.25, "stock": n % 7, "colour": "red", "weight": n / 3} for n in range(10)
]


def report_schema(columns):
    return type("ReportSchema", (Schema,), {column: COLUMNS[column]() for column in columns})


class Step:
    def __init__(self, safe):
        self.kept = report_schema(COLUMNS) if safe else None
        self.random = random.Random(3)

    def __call__(self):
        columns = self.random.sample(sorted(COLUMNS), 3)
        schema = (self.kept or report_schema(columns))(only=columns)
        rows = schema.dump(ROWS, many=True).data
        assert len(rows) == len(ROWS) and set(rows[0]) == set(columns)


def main():
    args = arguments(__doc__)
    serve(Step(args.safe), args)


if __name__ == "__main__":
    main()
