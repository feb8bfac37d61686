//! The open segment, to which batches are appended in log order. A batch's rows, rollups, dropped
//! duplicates and offset are one transaction, so they agree after a crash at any point.

use std::path::{Path, PathBuf};

use duckdb::{Connection, params};
use event::{ConversationId, EventId, PartitionId, Seq, SeqRange, TenantId, Timestamp};

use crate::{
    batch::Batch,
    disk,
    duplicates::Duplicate,
    engine::{self, Engine},
    error::{Error, Result},
    layout, schema,
};

/// Counts over the content of an open segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct OpenSegmentTotals {
    pub events: u64,
    /// Bytes of content.
    pub bytes: u64,
    pub encoded_bytes: u64,
    pub duplicates: u64,
    pub dead_letters: u64,
    pub received_min: Option<Timestamp>,
    pub received_max: Option<Timestamp>,
}

/// An attached open segment, its next sequence and its totals.
#[derive(Debug)]
pub(crate) struct OpenSegment {
    connection: Connection,
    pub alias: String,
    pub path: PathBuf,
    pub partition: PartitionId,
    pub lo: Seq,
    /// The sequence that the next batch must start with.
    pub next: Seq,
    pub totals: OpenSegmentTotals,
}

impl OpenSegment {
    /// Opens `open-<lo>.duckdb` in `dir`, creating it when it does not exist.
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
            totals: OpenSegmentTotals::default(),
        };
        open.recount()?;
        Ok(open)
    }

    /// Reads the totals and the next sequence from the file, and checks that they agree.
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
            let totals = OpenSegmentTotals {
                events: number(4)?,
                bytes: number(5)?,
                encoded_bytes: number(6)?,
                duplicates: number(7)?,
                dead_letters: number(8)?,
                received_min: time(9)?.map(Timestamp::from_micros),
                received_max: time(10)?.map(Timestamp::from_micros),
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

    /// Appends `batch`; when DuckDB has no memory for it, its halves one after the other, down to single
    /// frames. After an error that is not of memory the segment must not be used.
    pub(crate) fn append_in_parts(&mut self, batch: &Batch<'_>) -> Result<()> {
        match self.append(batch) {
            Err(error) if error.is_out_of_memory() => {
                let (first, second) = batch.halves().ok_or(error)?;
                self.append_in_parts(&first)?;
                self.append_in_parts(&second)
            }
            appended => appended,
        }
    }

    /// Appends `batch` and advances the offset in one transaction, which an error rolls back.
    fn append(&mut self, batch: &Batch<'_>) -> Result<()> {
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
        if let Err(error) = self.insert(batch, bytes) {
            // Fails when DuckDB has ended the transaction itself.
            let _ = self.connection.execute_batch("ROLLBACK");
            return Err(error);
        }
        match self.connection.execute_batch("COMMIT") {
            Ok(()) => self.add_to_totals(batch, bytes),
            Err(error) => return self.recover_commit(batch, error.into()),
        }
        Ok(())
    }

    /// Reads the file again after a failed commit, because DuckDB's memory may lack what it has committed.
    fn recover_commit(&mut self, batch: &Batch<'_>, error: Error) -> Result<()> {
        if !error.is_out_of_memory() {
            return Err(error);
        }
        if let Err(failed) = self.reread() {
            // Not of memory: what is committed is not known, so the process must end.
            return Err(Error::damaged(&self.path, failed));
        }
        match self.next > batch.range.hi {
            true => Ok(()),
            false => Err(error),
        }
    }

    fn reread(&mut self) -> Result<()> {
        engine::detach(&self.connection, &self.alias)?;
        engine::attach(&self.connection, &self.path, &self.alias)?;
        self.next = self.lo;
        self.recount()
    }

    fn insert(&self, batch: &Batch<'_>, bytes: u64) -> Result<()> {
        self.insert_rows(batch)?;
        self.insert_dropped(batch.dropped)?;
        let sql = format!(
            "INSERT INTO {}.batches VALUES (?, ?, ?, ?, ?, ?, ?)",
            self.alias
        );
        let (events, dropped) = (batch.events.len() as u64, batch.dropped.len() as u64);
        let SeqRange { lo, hi } = batch.range;
        let (dead, encoded) = (batch.dead_letters.len() as u64, batch.encoded_bytes);
        self.connection
            .execute(&sql, params![lo, hi, events, bytes, dropped, dead, encoded])?;
        Ok(())
    }

    fn add_to_totals(&mut self, batch: &Batch<'_>, bytes: u64) {
        let totals = &mut self.totals;
        totals.events += batch.events.len() as u64;
        totals.bytes += bytes;
        totals.encoded_bytes += batch.encoded_bytes;
        totals.duplicates += batch.dropped.len() as u64;
        totals.dead_letters += batch.dead_letters.len() as u64;
        let received = batch.events.iter().map(|event| event.received_at);
        totals.received_min = received.clone().chain(totals.received_min).min();
        totals.received_max = received.chain(totals.received_max).max();
        self.next = batch.range.hi + 1;
    }

    fn insert_rows(&self, batch: &Batch<'_>) -> Result<()> {
        if batch.events.is_empty() {
            return Ok(());
        }
        let (connection, alias) = (&self.connection, &self.alias);
        let mut appender = connection.appender_to_catalog_and_db("events", alias, "main")?;
        appender.append_record_batch(segment::encode(batch.events))?;
        // Drop would ignore an error of the flush.
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

    /// Reads the duplicates that were dropped after `after`, ascending by position.
    pub(crate) fn dropped(&self, after: Seq) -> Result<Vec<Duplicate>> {
        dropped(&self.connection, &self.alias, after)
    }

    /// Detaches the file and returns its path.
    pub(crate) fn close(self) -> Result<PathBuf> {
        engine::detach(&self.connection, &self.alias)?;
        Ok(self.path)
    }

    /// The range of the log that the segment covers; `None` before its first batch.
    pub(crate) fn range(&self) -> Option<SeqRange> {
        SeqRange::new(self.lo, self.next - 1)
    }
}

fn has_tables(connection: &Connection, alias: &str) -> Result<bool> {
    let sql = "SELECT count(*) FROM duckdb_tables() WHERE database_name = ?";
    let tables: u64 = connection.query_row(sql, [alias], |row| row.get(0))?;
    Ok(tables > 0)
}

/// Parses the identity of an event from the columns of a segment file.
pub(crate) fn identity(
    tenant: &str,
    conversation: &str,
    event_id: &str,
) -> Result<(TenantId, ConversationId, EventId)> {
    let malformed = |error: event::IdError| Error::Rows(error.to_string());
    let tenant = TenantId::new(tenant).map_err(malformed)?;
    let conversation = ConversationId::new(conversation).map_err(malformed)?;
    let (id, _) = EventId::from_text(&tenant, &conversation, event_id).map_err(malformed)?;
    Ok((tenant, conversation, id))
}

/// Reads the duplicates after `after` from the attached file `alias`, ascending by position.
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
