"""Reads a cold `events` table with an independent Delta reader and says what is in it.

    python e2e/read_cold.py TABLE [--option KEY=VALUE]...

TABLE is a path or an s3:// address, for example `.isotherm/cold/events`; options are those of the
`deltalake` package (AWS_ENDPOINT_URL, AWS_ALLOW_HTTP, ...). Needs `deltalake` and `pyarrow`.

Prints JSON lines: first the table's version, files, rows and columns, then for every conversation
its rows and the sha256 over `position NUL content NUL` of its rows in position order.
"""

import argparse
import hashlib
import json
import sys

from deltalake import DeltaTable

POSITION = ["generation", "partition", "epoch", "seq", "idx"]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("table")
    parser.add_argument("--option", action="append", default=[], metavar="KEY=VALUE")
    return parser.parse_args()


def main():
    args = arguments()
    options = dict(option.split("=", 1) for option in args.option)
    table = DeltaTable(args.table, storage_options=options or None)
    columns = ["tenant", "conversation_id", "content", *POSITION]
    rows = table.to_pyarrow_table(columns=columns)
    order = [(name, "ascending") for name in ["tenant", "conversation_id", *POSITION]]
    rows = rows.sort_by(order)
    conversations = {}
    for batch in rows.to_batches(max_chunksize=20_480):
        for row in batch.to_pylist():
            add(conversations, row)
    head = {
        "version": table.version(),
        "files": len(table.file_uris()),
        "rows": rows.num_rows,
        "conversations": len(conversations),
        "columns": [field.name for field in table.schema().fields],
    }
    lines = [json.dumps(head)]
    for (tenant, conversation), (count, digest) in conversations.items():
        line = {
            "tenant": tenant,
            "conversation_id": conversation,
            "rows": count,
            "sha256": digest.hexdigest(),
        }
        lines.append(json.dumps(line))
    sys.stdout.write("\n".join(lines) + "\n")


def add(conversations, row):
    key = (row["tenant"], row["conversation_id"])
    count, digest = conversations.get(key, (0, hashlib.sha256()))
    position = "{generation:04}-{partition:04}-{epoch:04}-{seq:020}-{idx:04}".format(**row)
    digest.update(position.encode() + b"\0" + row["content"].encode() + b"\0")
    conversations[key] = (count + 1, digest)


if __name__ == "__main__":
    main()
