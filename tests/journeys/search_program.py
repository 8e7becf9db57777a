"""A search in a process of its own, for tests that kill it. Arguments: OUT BUDGET WORKERS SECONDS AHEAD."""

import sys
from pathlib import Path

from fakes import Counted, FakeModel

from molvae.errors import MolvaeError
from molvae.search.run import optimize


def main(out: str, budget: str, workers: str, seconds: str, ahead: str) -> None:
    objective = Counted(Path(out + ".calls"), float(seconds))
    settings = {"initial": 20, "batch": 10}
    try:
        optimize(
            objective,
            budget=int(budget),
            strategy="genetic",
            model=FakeModel(),
            out=out,
            workers=int(workers),
            ahead=ahead == "ahead",
            settings=settings,
        )
    except MolvaeError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main(*sys.argv[1:])
