"""How fast and how steadily rewards are scored and served, beside what people use instead.

`python -m benchmarks.serve --json OUT [--quick] [--peers] [--rows 14 15] [--minutes 60]`; with `--peers`, servers that
cannot share our environment are installed into virtual environments of their own and measured too, which takes minutes
and gigabytes. `--minutes` is how long row 16's crowd asks and row 20's clients die: by default 10 and 60, and with
`--quick` half a minute.
"""

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks import serve_engine, serve_faults, serve_http, serve_life, serve_overload
from benchmarks.harness import Row, parser, report

CASES = 14_000
"""Asked for, so that 10,000 are sent: some operations have fewer that differ."""


def main() -> None:
    """Measure and write the rows."""
    options = parser(__doc__)
    options.add_argument("--peers", action="store_true", help="install and measure other servers too")
    options.add_argument("--rows", type=int, nargs="+", help="measure these alone (default: all)")
    options.add_argument("--minutes", type=float, help="how long rows 16 and 20 go on")
    options.add_argument("--place", type=Path, help="keep bundles here for the next time (default: nowhere)")
    arguments = options.parse_args()
    quick, peers = arguments.quick, arguments.peers
    crowd, deaths = (arguments.minutes or (0.5 if quick else minutes) for minutes in (10, 60))
    with tempfile.TemporaryDirectory() as folder:
        place = arguments.place or Path(folder)
        place.mkdir(exist_ok=True)
        measures: dict[tuple[int, ...], Callable[[], Sequence[Row]]] = {
            (10,): lambda: serve_life.swaps(place, count=4 if quick else 20, seconds=5 if quick else 30),
            (12, 13): lambda: serve_engine.measure(quick=quick, peers=peers),
            (14,): lambda: serve_http.mixed(place, quick=quick, peers=peers),
            (15,): lambda: serve_http.storm(place, quick=quick),
            (16,): lambda: serve_overload.measure(place, minutes=crowd),
            (17,): lambda: serve_life.memory(place, shapes=400 if quick else 10_000),
            (18,): lambda: serve_life.start(place),
            (19,): lambda: serve_faults.poison(place),
            (20,): lambda: serve_faults.survival(place, cases=400 if quick else CASES, minutes=deaths),
        }
        wanted = {row for rows in measures for row in rows} & set(arguments.rows or range(100))
        report(arguments.json, [row for rows, measure in measures.items() if wanted & set(rows) for row in measure()])


if __name__ == "__main__":
    main()
