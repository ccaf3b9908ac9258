#!/usr/bin/env python3
"""Keeps what a result page rests on: the runs of a database as a small, compressed SQL dump.

    results/keep_runs.py DB OUT.sql.xz [--series NAME,NAME]

The database is only read. The dump has the tables, indexes and views of the database, and of its rows:

  run, config         all runs and their configs
  eval                of finished runs, the rows of the last step of each stage; without the bits per example
  metric              of each run, the last row of each metric and layer; of the runs marked final also all rows
                      of the metrics that --series names (a table's column `average:NAME` needs them)
  readout, result     all of them
  grid, grid_run, tuning, tuning_plan, tuned_run, reference
  provenance          without the kernel's name and without the places of files; ids are those of the full text

It leaves out topology_update and event. If it would be larger than 1 MB, the metric rows of the tuning trials are left out
too, then those of single layers (what is of the whole network or of a level stays); if that is not enough, nothing is written. The comments at its head say what was left out. Restored by

    xz -dc OUT.sql.xz | sqlite3 runs.sqlite

it answers `tandem query` and `tandem table` like the database that it came from, but for what was left out: it has no
validation curves, and without the trials' metrics `tandem plot FILE trials` has nothing to draw.
"""

import argparse
import json
import lzma
import os
import re
import sqlite3
import sys

LIMIT = 1_000_000  # bytes of the compressed file
ROWS_PER_INSERT = 200
WHOLE = ("", "weights", "attention")  # "layers" of metric rows that are of the whole network or of a level
LEFT_OUT_TABLES = ("topology_update", "event", "eval_bits")
# A value that begins with a slash, or that has a home folder in it, is a place on some machine.
PLACE = re.compile(r"^/|/home/|/root/|/tmp/|/Users/")


def literal(value):
    """The SQL text of a value; the floats' text gives the same bits back."""
    if value is None:
        return "NULL"
    if isinstance(value, float):
        return repr(value) if value - value == 0 else ("9e999" if value > 0 else "-9e999")
    if isinstance(value, int):
        return str(value)
    if isinstance(value, bytes):
        return "X'" + value.hex() + "'"
    return "'" + value.replace("'", "''") + "'"


def rows_of(db, table, series, trials_metrics, layers):
    """The rows of a table that are kept, in an order in which neighbours resemble each other."""
    names = [row[1] for row in db.execute(f'PRAGMA table_info("{table}")')]
    quoted = ", ".join(f'"{name}"' for name in names)
    if table in LEFT_OUT_TABLES:
        return names, []
    if table == "eval":
        columns = ", ".join(f'e."{name}"' for name in names)
        return names, db.execute(
            f"SELECT {columns} FROM eval e JOIN run r ON r.key = e.run WHERE r.state = 'done' AND e.step ="
            " (SELECT max(l.step) FROM eval l WHERE l.run = e.run AND l.stage = e.stage) ORDER BY e.run, e.sequence")
    if table == "metric":
        marks = ", ".join("?" for _ in series)
        columns = ", ".join(f'm."{name}"' for name in names)
        final = "m.run IN (SELECT run FROM config WHERE final = 1)"
        return names, db.execute(
            f"SELECT {columns} FROM metric m JOIN metric_name n ON n.key = m.name WHERE (m.run, m.sequence) IN"
            " (SELECT run, max(sequence) FROM metric GROUP BY run, layer, name)"
            + ("" if trials_metrics else f" AND {final}")
            + ("" if layers else f" AND m.layer IN (SELECT key FROM layer_name WHERE name IN {WHOLE})")
            + f" OR {final} AND n.name IN ({marks}) ORDER BY m.name, m.layer, m.run, m.sequence", series)
    if table == "provenance":
        return names, [(key, without_places(text)) for key, text in db.execute("SELECT id, json FROM provenance ORDER BY id")]
    return names, db.execute(f'SELECT {quoted} FROM "{table}" ORDER BY 1')


def without_places(text):
    """Provenance without the kernel's name and the places of data files; sizes and hashes stay."""
    value = json.loads(text)
    for key in ("kernel", "host", "hostname"):
        value.pop(key, None)
    for file in value.get("data_files", []):
        file["path"] = os.path.basename(file.get("path", "").split(" (")[0])
    return json.dumps(value, separators=(",", ":"), sort_keys=True)


def check_places(table, names, row):
    for name, value in zip(names, row):
        if isinstance(value, str) and PLACE.search(value):
            sys.exit(f"keep_runs.py: {table}.{name} holds a place on a machine ({value[:80]}); nothing was written")


def dump(db, series, trials_metrics, layers):
    """The text of the dump."""
    left = ["bits per example of evaluations", "evaluations and metrics before a run's last ones", "topology updates and events",
            "the kernel's name and the places of data files in provenance"]
    if not trials_metrics:
        left.append("metrics of tuning trials")
    if not layers:
        left.append("metrics of single layers")
    out = ["-- Runs behind result tables, written by results/keep_runs.py. Restore: xz -dc FILE | sqlite3 runs.sqlite",
           "-- Left out: " + "; ".join(left) + "."]
    if series:
        out.append("-- Kept at every step, of the final runs: " + ", ".join(series) + ".")
    for pragma in ("application_id", "user_version"):
        out.append(f"PRAGMA {pragma} = {db.execute(f'PRAGMA {pragma}').fetchone()[0]};")
    out.append("BEGIN;")
    schema = db.execute("SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%' ORDER BY rowid").fetchall()
    out += [sql + ";" for kind, _, sql in schema if kind == "table"]
    for kind, table, _ in schema:
        if kind != "table":
            continue
        names, rows = rows_of(db, table, series, trials_metrics, layers)
        values = []
        for row in rows:
            check_places(table, names, row)
            values.append("(" + ",".join(map(literal, row)) + ")")
        for start in range(0, len(values), ROWS_PER_INSERT):
            out.append(f'INSERT INTO "{table}" VALUES\n' + ",\n".join(values[start:start + ROWS_PER_INSERT]) + ";")
    out += [sql + ";" for kind, _, sql in schema if kind != "table"]
    out.append("COMMIT;")
    return "\n".join(out) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("db")
    parser.add_argument("out")
    parser.add_argument("--series", default="", help="metrics that are kept at every step, joined by commas")
    args = parser.parse_args()
    if not os.path.isfile(args.db):
        sys.exit(f"keep_runs.py: there is no database {args.db}")
    db = sqlite3.connect(f"file:{args.db}?mode=ro", uri=True)
    series = [name for name in args.series.split(",") if name]
    known = {name for (name,) in db.execute("SELECT name FROM metric_name")}
    for name in series:
        if name not in known:
            sys.exit(f"keep_runs.py: no metric {name} in {args.db}")
    size = 0
    for trials_metrics, layers in ((True, True), (False, True), (False, False)):
        packed = lzma.compress(dump(db, series, trials_metrics, layers).encode(), preset=9 | lzma.PRESET_EXTREME)
        size = len(packed)
        if size <= LIMIT:
            # Written beside its place and moved there, so that a stop leaves no half of a file.
            with open(args.out + ".part", "wb") as file:
                file.write(packed)
            os.replace(args.out + ".part", args.out)
            print(f"{args.out}: {size} bytes" + ("" if trials_metrics else ", without the metrics of tuning trials") + ("" if layers else " and of single layers"))
            return
    sys.exit(f"keep_runs.py: {args.out} would have {size} bytes, more than {LIMIT}; nothing was written")


if __name__ == "__main__":
    main()
