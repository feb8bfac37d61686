//! The open segment: takes batches in log order. Rows, rollups, what was dropped and the offset
//! move in one transaction, so whatever the process dies on, they agree.

use std::path::{Path, PathBuf};

use duckdb::{Connection, params};
use event::{
    ConversationId, EventId, PartitionId, Seq, SeqRange, StoredEvent, TenantId, Timestamp,
};

use crate::{
    disk,
    engine::{self, Engine},
    error::{Error, Result},
    layout, schema,
};

/// An event that was dropped because one with its id came before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Duplicate {
    pub tenant: TenantId,
    pub conversation_id: ConversationId,
    pub event_id: EventId,
    pub seq: Seq,
    pub idx: u16,
}

/// Consecutive frames of the log.
#[derive(Clone, Debug)]
pub(crate) struct Batch<'a> {
    pub range: SeqRange,
    pub events: &'a [StoredEvent],
    pub dropped: &'a [Duplicate],
    pub dead_letters: u64,
    /// Bytes of canonical events, for the size at which a segment is sealed.
    pub encoded_bytes: u64,
}

/// What an open segment holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub events: u64,
    /// Of content.
    pub bytes: u64,
    pub encoded_bytes: u64,
    pub duplicates: u64,
    pub dead_letters: u64,
    pub oldest: Option<Timestamp>,
    pub newest: Option<Timestamp>,
}

#[derive(Debug)]
pub(crate) struct OpenSegment {
    connection: Connection,
    pub alias: String,
    pub path: PathBuf,
    pub partition: PartitionId,
    pub lo: Seq,
    /// The sequence that the next batch must start with.
    pub next: Seq,
    pub totals: Totals,
}

impl OpenSegment {
    /// Opens `open-<lo>.duckdb` in `dir`, creating it when it is not there.
    pub(crate) fn open(
        engine: &Engine,
        dir: &Path,
        partition: PartitionId,
        lo: Seq,
    ) -> Result<Self> {
        let (path, alias) = (
            dir.join(layout::open_name(lo)),
            format!("open_{partition}_{lo}"),
        );
        let connection = engine.connect()?;
        engine::attach(&connection, &path, &alias)?;
        if !has_tables(&connection, &alias)? {
            let sql = format!("BEGIN; {} COMMIT;", schema::open_segment(&alias));
            connection.execute_batch(&sql)?;
            disk::sync_dir(dir)?;
        }
        let mut open = Self {
            connection,
            alias,
            path,
            partition,
            lo,
            next: lo,
            totals: Totals::default(),
        };
        open.recount()?;
        Ok(open)
    }

    fn recount(&mut self) -> Result<()> {
        let alias = &self.alias;
        let sql = format!(
            "SELECT count(*), min(lo), max(hi), coalesce(sum(hi - lo + 1), 0)::BIGINT, \
             coalesce(sum(events), 0)::BIGINT, coalesce(sum(bytes), 0)::BIGINT, \
             coalesce(sum(encoded), 0)::BIGINT, coalesce(sum(duplicates), 0)::BIGINT, \
             coalesce(sum(dead_letters), 0)::BIGINT, \
             (SELECT epoch_us(min(received_at)) FROM {alias}.events), \
             (SELECT epoch_us(max(received_at)) FROM {alias}.events), \
             (SELECT count(*) FROM {alias}.events) FROM {alias}.batches"
        );
        let row = self.connection.query_row(&sql, [], |row| {
            let number = |at: usize| row.get::<_, u64>(at);
            let time = |at: usize| row.get::<_, Option<i64>>(at);
            let totals = Totals {
                events: number(4)?,
                bytes: number(5)?,
                encoded_bytes: number(6)?,
                duplicates: number(7)?,
                dead_letters: number(8)?,
                oldest: time(9)?.map(Timestamp::from_micros),
                newest: time(10)?.map(Timestamp::from_micros),
            };
            let ends = (row.get::<_, Option<u64>>(1)?, row.get::<_, Option<u64>>(2)?);
            Ok((totals, ends, number(3)?, number(11)?))
        })?;
        let (totals, ends, sequences, rows) = row;
        if let (Some(lo), Some(hi)) = ends {
            self.next = hi + 1;
            if lo != self.lo || sequences != hi + 1 - lo {
                return Err(Error::damaged(&self.path, "its batches have a gap"));
            }
        }
        if rows != totals.events {
            return Err(Error::damaged(&self.path, "its rows and its offset differ"));
        }
        self.totals = totals;
        Ok(())
    }

    /// Adds `batch` and moves the offset, or neither. After an error the segment must not be used.
    pub(crate) fn append(&mut self, batch: &Batch<'_>) -> Result<()> {
        if batch.range.lo != self.next {
            return Err(Error::Gap {
                partition: self.partition,
                expected: self.next,
                found: batch.range.lo,
            });
        }
        let bytes: u64 = batch
            .events
            .iter()
            .map(|e| e.event.content.len() as u64)
            .sum();
        self.connection.execute_batch("BEGIN")?;
        self.insert_rows(batch)?;
        self.insert_dropped(batch.dropped)?;
        let sql = format!(
            "INSERT INTO {}.batches VALUES (?, ?, ?, ?, ?, ?, ?)",
            self.alias
        );
        let (events, dropped) = (batch.events.len() as u64, batch.dropped.len() as u64);
        let SeqRange { lo, hi } = batch.range;
        let (dead, encoded) = (batch.dead_letters, batch.encoded_bytes);
        self.connection
            .execute(&sql, params![lo, hi, events, bytes, dropped, dead, encoded])?;
        self.connection.execute_batch("COMMIT")?;
        self.count(batch, bytes);
        Ok(())
    }

    fn count(&mut self, batch: &Batch<'_>, bytes: u64) {
        let totals = &mut self.totals;
        totals.events += batch.events.len() as u64;
        totals.bytes += bytes;
        totals.encoded_bytes += batch.encoded_bytes;
        totals.duplicates += batch.dropped.len() as u64;
        totals.dead_letters += batch.dead_letters;
        let received = batch.events.iter().map(|event| event.received_at);
        totals.oldest = received.clone().chain(totals.oldest).min();
        totals.newest = received.chain(totals.newest).max();
        self.next = batch.range.hi + 1;
    }

    fn insert_rows(&self, batch: &Batch<'_>) -> Result<()> {
        if batch.events.is_empty() {
            return Ok(());
        }
        let (connection, alias) = (&self.connection, &self.alias);
        let mut appender = connection.appender_to_catalog_and_db("events", alias, "main")?;
        appender.append_record_batch(segment::encode(batch.events))?;
        // Dropping it would swallow the error.
        appender.flush()?;
        drop(appender);
        let SeqRange { lo, hi } = batch.range;
        let source = format!("{alias}.events WHERE seq BETWEEN {lo} AND {hi}");
        let stats = schema::hourly_stats(&source, self.partition, batch.range);
        let summary = schema::conversation_summary(&source, self.partition, batch.range);
        Ok(connection.execute_batch(&format!(
            "INSERT INTO {alias}.hourly_stats {stats}; \
             INSERT INTO {alias}.conversation_summary {summary};"
        ))?)
    }

    fn insert_dropped(&self, dropped: &[Duplicate]) -> Result<()> {
        if dropped.is_empty() {
            return Ok(());
        }
        let (connection, alias) = (&self.connection, &self.alias);
        let mut appender = connection.appender_to_catalog_and_db("dropped", alias, "main")?;
        for duplicate in dropped {
            appender.append_row(params![
                duplicate.tenant.as_str(),
                duplicate.conversation_id.as_str(),
                duplicate.event_id.to_string(),
                duplicate.seq,
                duplicate.idx
            ])?;
        }
        Ok(appender.flush()?)
    }

    /// What was dropped behind `after`, by position.
    pub(crate) fn dropped(&self, after: Seq) -> Result<Vec<Duplicate>> {
        dropped(&self.connection, &self.alias, after)
    }

    /// Lets go of the file.
    pub(crate) fn close(self) -> Result<PathBuf> {
        engine::detach(&self.connection, &self.alias)?;
        Ok(self.path)
    }

    /// The range of the log that it holds; `None` before its first batch.
    pub(crate) fn range(&self) -> Option<SeqRange> {
        SeqRange::new(self.lo, self.next - 1)
    }
}

fn has_tables(connection: &Connection, alias: &str) -> Result<bool> {
    let sql = "SELECT count(*) FROM duckdb_tables() WHERE database_name = ?";
    let tables: u64 = connection.query_row(sql, [alias], |row| row.get(0))?;
    Ok(tables > 0)
}

/// The identity of an event from its texts in a file of ours.
pub(crate) fn identity(
    tenant: &str,
    conversation: &str,
    event_id: &str,
) -> Result<(TenantId, ConversationId, EventId)> {
    let wrong = |error: event::IdError| Error::Rows(error.to_string());
    let tenant = TenantId::new(tenant).map_err(wrong)?;
    let conversation = ConversationId::new(conversation).map_err(wrong)?;
    let (id, _) = EventId::from_text(&tenant, &conversation, event_id).map_err(wrong)?;
    Ok((tenant, conversation, id))
}

/// The duplicates behind `after` that the attached file `alias` knows of, by position.
pub(crate) fn dropped(connection: &Connection, alias: &str, after: Seq) -> Result<Vec<Duplicate>> {
    let sql = format!(
        "SELECT tenant, conversation_id, event_id, seq, idx FROM {alias}.dropped \
         WHERE seq > {after} ORDER BY seq, idx"
    );
    let mut statement = connection.prepare(&sql)?;
    let mut rows = statement.query([])?;
    let mut dropped = Vec::new();
    while let Some(row) = rows.next()? {
        let texts: (String, String, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let (tenant, conversation_id, event_id) = identity(&texts.0, &texts.1, &texts.2)?;
        dropped.push(Duplicate {
            tenant,
            conversation_id,
            event_id,
            seq: row.get(3)?,
            idx: row.get(4)?,
        });
    }
    Ok(dropped)
}
