//! Help texts of the import formats.

pub(crate) const BOTH: &str = r#"Formats:
  sqlite   the table streams(id, conversation_id, chunk, parsed_data, timestamp)
  jsonl    one JSON object a line, such as
           {"conversation_id":"build","type":"output.chunk","content":"hello"}

`isotherm import sqlite --help` and `isotherm import jsonl --help` describe every column and field."#;

pub(super) const SQLITE: &str = r#"The table:
  CREATE TABLE streams (
    id TEXT,               any text that is not empty
    conversation_id TEXT,  ASCII letters, digits and - _ . : @ / + = ~
    chunk TEXT,            the output, a character or more; a BLOB is taken too
    parsed_data TEXT,      a JSON object for a row that is an event of its own, its type in "type";
                           NULL or empty for plain output, whose rows are joined into chunks
    timestamp TEXT         2026-11-20T09:00:00.021384Z or 2026-11-20 09:00:00.021, which is UTC
  )
More columns do not matter. Rows are taken in the order in which they were written.

Examples:
  isotherm import sqlite streams.db
  isotherm import sqlite streams.db --checkpoint /var/tmp/import.json

Interrupted, it goes on where it was when it is called again; another store gets everything. At the
end it reads everything back and compares it with the database."#;

pub(super) const JSONL: &str = r#"A line:
  {"conversation_id":"build","type":"output.chunk","content":"hello"}

With every field:
  {"conversation_id":"build","type":"tool.call","content":"AP8=","content_encoding":"base64","timestamp":"2026-11-20T09:00:00Z","event_id":"run-7-1","task_id":"7","metadata":{"tool":"ls"},"correlation_id":"a","trace_id":"b","span_id":"c"}

conversation_id and type must be there, or be given for all lines without one by --conversation and
--type. Left out, content_encoding is utf-8, timestamp is the time of the import, and event_id is made
of the line's text and its number, so the file may be imported again. Other fields are kept in the
metadata.

Examples:
  isotherm import jsonl runs-1.ndjson runs-2.ndjson.gz
  zcat old.gz | isotherm import jsonl --conversation old --type log.line -"#;

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use crate::{
        args::Cli,
        import::lines::{Defaults, prepare},
    };

    fn help(path: &[&str]) -> String {
        let mut command = Cli::command();
        command.build();
        let found = path.iter().fold(&mut command, |command, name| {
            command.find_subcommand_mut(name).unwrap()
        });
        found.render_long_help().to_string()
    }

    #[test]
    fn the_lines_that_the_help_shows_can_be_imported() {
        for (help, count) in [(help(&["import"]), 1), (help(&["import", "jsonl"]), 2)] {
            let shown: Vec<&str> = help
                .lines()
                .filter(|line| line.trim_start().starts_with('{'))
                .collect();
            assert_eq!(shown.len(), count, "{help}");
            for line in shown {
                let ready = prepare(line.as_bytes(), 1, &Defaults::default());
                assert_eq!(ready.unwrap().unwrap().conversation, "build");
            }
        }
    }

    #[test]
    fn the_help_shows_the_columns_of_the_legacy_table() {
        for path in [&["import"][..], &["import", "sqlite"]] {
            let help = help(path);
            for column in ["id", "conversation_id", "chunk", "parsed_data", "timestamp"] {
                assert!(help.contains(column), "{path:?} {column}: {help}");
            }
        }
        assert!(help(&["import", "sqlite"]).contains("2026-11-20 09:00:00.021"));
    }
}
