"""Asks Isotherm and other stores the same questions over the same events, and prints how long each takes.

    python xtask/src/bench/answers.py --url http://127.0.0.1:7402 --events FILE [--rounds N]

FILE is the NDJSON that Isotherm has. The others hold it in one table each: DuckDB (in this process, on disk,
threads as many as cores), ClickHouse (chdb, in this process, ORDER BY conversation and time), and SQLite with
the schema that such systems begin with (one table, an index by conversation and time). Each question is asked once
to warm up and then N times, all stores in turn; the medians are printed as JSON, in milliseconds, and the answers are
compared. Needs the packages `duckdb` and `chdb`; FILE is loaded into a folder that is removed at the end.
"""

import argparse
import json
import os
import sqlite3
import statistics
import sys
import tempfile
import time
import urllib.parse
import urllib.request

import chdb.session
import duckdb

COLUMNS = ["event_id", "conversation_id", "type", "timestamp", "content", "metadata"]
# Name, then the statement of Isotherm and DuckDB, of ClickHouse, of SQLite.
HOURLY = (
    "SELECT date_trunc('hour', timestamp) AS hour, type, count(*) AS n, sum(length(content)) AS bytes FROM events GROUP BY 1, 2 ORDER BY 1, 2",
    "SELECT toStartOfHour(timestamp) AS hour, type, count(*) AS n, sum(lengthUTF8(content)) AS bytes FROM events GROUP BY 1, 2 ORDER BY 1, 2",
    "SELECT substr(timestamp, 1, 13) AS hour, type, count(*) AS n, sum(length(content)) AS bytes FROM events GROUP BY 1, 2 ORDER BY 1, 2",
)
STATEMENTS = {
    "count": "SELECT count(*) FROM events",
    "by type": "SELECT type, count(*) AS n FROM events GROUP BY type ORDER BY type",
    "hourly with sizes": HOURLY,
    "LIKE": "SELECT count(*) FROM events WHERE content LIKE '%{needle}%'",
    "top 20": "SELECT conversation_id, count(*) AS n FROM events GROUP BY conversation_id ORDER BY n DESC, conversation_id LIMIT 20",
    "one conversation": "SELECT count(*) FROM events WHERE conversation_id = '{conversation}'",
}
SUMMARIES = (
    "SELECT conversation_id, count(*) AS n, max(timestamp) AS last FROM events GROUP BY conversation_id ORDER BY last DESC, conversation_id LIMIT 100"
)


def get(url):
    with urllib.request.urlopen(url) as answer:
        return json.load(answer)


def post(url, text):
    with urllib.request.urlopen(urllib.request.Request(url, text.encode())) as answer:
        return json.load(answer)


class Isotherm:
    name = "isotherm"

    def __init__(self, url):
        self.url = url

    def rows(self, sql):
        answer = post(self.url + "/v1/sql", sql)
        if not answer["complete"]:
            sys.exit(f"incomplete: {answer['missing']}")
        return answer["rows"]

    def statement(self, statement):
        return self.rows(statement if isinstance(statement, str) else statement[0])

    def lists(self):
        newest = self.url + "/v1/conversations?limit=100"
        return {
            "hours": lambda: get(self.url + "/v1/stats/hourly")["hours"],
            "conversations": lambda: get(newest)["conversations"],
        }


class DuckDb:
    name = "duckdb"

    def __init__(self, events, folder):
        self.db = duckdb.connect(os.path.join(folder, "events.duckdb"))
        self.db.execute(
            "CREATE TABLE events AS SELECT event_id, conversation_id, type, timestamp::TIMESTAMP AS timestamp, content, metadata "
            f"FROM read_json('{events}', format = 'newline_delimited', columns = "
            "{event_id: 'VARCHAR', conversation_id: 'VARCHAR', type: 'VARCHAR', timestamp: 'TIMESTAMPTZ', content: 'VARCHAR', metadata: 'JSON'})"
        )
        self.db.execute("CHECKPOINT")

    def rows(self, sql):
        return self.db.execute(sql).fetchall()

    def statement(self, statement):
        return self.rows(statement if isinstance(statement, str) else statement[0])

    def lists(self):
        return {"hours": lambda: self.rows(HOURLY[0]), "conversations": lambda: self.rows(SUMMARIES)}


class ClickHouse:
    name = "clickhouse"

    def __init__(self, events, folder):
        self.session = chdb.session.Session(os.path.join(folder, "clickhouse"))
        self.session.query("CREATE DATABASE IF NOT EXISTS bench ENGINE = Atomic")
        self.session.query("USE bench")
        self.session.query(
            "CREATE TABLE events (event_id String, conversation_id String, type LowCardinality(String), timestamp DateTime64(6, 'UTC'), "
            "content String, metadata String) ENGINE = MergeTree ORDER BY (conversation_id, timestamp)"
        )
        self.session.query(
            f"INSERT INTO events SELECT event_id, conversation_id, type, parseDateTime64BestEffort(timestamp, 6, 'UTC'), content, metadata "
            f"FROM file('{events}', 'JSONEachRow', 'event_id String, conversation_id String, type String, timestamp String, content String, metadata String') "
            "SETTINGS input_format_json_read_objects_as_strings = 1, input_format_skip_unknown_fields = 1"
        )
        self.session.query("OPTIMIZE TABLE events FINAL")

    def rows(self, sql):
        text = str(self.session.query(sql, "JSONCompact"))
        return json.loads(text)["data"]

    def statement(self, statement):
        return self.rows(statement if isinstance(statement, str) else statement[1])

    def lists(self):
        return {"hours": lambda: self.rows(HOURLY[1]), "conversations": lambda: self.rows(SUMMARIES)}


class Sqlite:
    name = "sqlite"

    def __init__(self, events, folder):
        self.db = sqlite3.connect(os.path.join(folder, "events.sqlite"))
        self.db.execute("CREATE TABLE events (event_id TEXT PRIMARY KEY, conversation_id TEXT, type TEXT, timestamp TEXT, content TEXT, metadata TEXT)")
        with open(events) as lines:
            rows = (json.loads(line) for line in lines)
            self.db.executemany(
                "INSERT OR IGNORE INTO events VALUES (?, ?, ?, ?, ?, ?)",
                ([*(row.get(column) for column in COLUMNS[:5]), json.dumps(row.get("metadata"))] for row in rows),
            )
        self.db.execute("CREATE INDEX by_conversation ON events (conversation_id, timestamp)")
        self.db.commit()

    def rows(self, sql):
        return self.db.execute(sql).fetchall()

    def statement(self, statement):
        return self.rows(statement if isinstance(statement, str) else statement[2])

    def lists(self):
        return {"hours": lambda: self.rows(HOURLY[2]), "conversations": lambda: self.rows(SUMMARIES)}


def timed(ask):
    began = time.perf_counter()
    rows = ask()
    return (time.perf_counter() - began) * 1e3, rows


def comparable(name, rows):
    """What all stores must answer alike: numbers and names, without the forms of times."""
    if name == "hours":
        return sorted((row["type"], row["events"]) if isinstance(row, dict) else (row[1], int(row[2])) for row in rows)
    if name == "conversations":
        return [row["conversation_id"] if isinstance(row, dict) else row[0] for row in rows]
    if name == "hourly with sizes":
        return sorted((row[1], int(row[2]), int(row[3])) for row in rows)
    return [[int(value) if str(value).isdigit() else value for value in row] for row in rows]


def until_sealed(url):
    deadline = time.monotonic() + 120
    while any(part["warm"]["sealed"] < part["log"]["last"] for part in get(url + "/v1/watermarks")["partitions"]):
        if time.monotonic() > deadline:
            sys.exit("the events are not sealed after 120 s")
        time.sleep(0.2)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--url", required=True, help="where query answers")
    parser.add_argument("--events", required=True, help="the events that it has, as NDJSON")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--until-sealed", action="store_true", help="only wait until warm has sealed all events")
    args = parser.parse_args()
    if args.until_sealed:
        return until_sealed(args.url)
    events = os.path.abspath(args.events)
    with open(events) as lines:
        first = json.loads(next(lines))
    words = {"needle": "zzzz", "conversation": first["conversation_id"]}
    with tempfile.TemporaryDirectory(dir=os.path.dirname(events)) as folder:
        stores = [Isotherm(args.url), DuckDb(events, folder), ClickHouse(events, folder), Sqlite(events, folder)]
        questions = {}
        for name, statement in STATEMENTS.items():
            fill = lambda text: text.format(**words)
            statement = fill(statement) if isinstance(statement, str) else tuple(map(fill, statement))
            questions[name] = [lambda store=store, statement=statement: store.statement(statement) for store in stores]
        for name in ("hours", "conversations"):
            questions[name] = [store.lists()[name] for store in stores]
        for name, asks in questions.items():
            expected = None
            for store, ask in zip(stores, asks):
                answer = comparable(name, ask())
                expected = expected or (store.name, answer)
                if answer != expected[1]:
                    sys.exit(f"{name}: {store.name} and {expected[0]} differ: {str(answer)[:200]} / {str(expected[1])[:200]}")
            times = [[] for _ in stores]
            for _ in range(args.rounds):
                for of_store, ask in zip(times, asks):
                    of_store.append(timed(ask)[0])
            medians = {store.name: statistics.median(of_store) for store, of_store in zip(stores, times)}
            print(json.dumps({"question": name, "milliseconds": medians}), flush=True)


if __name__ == "__main__":
    main()
