//! Decoding: a record batch to events, with every checksum verified.

use arrow::{
    array::{Array as _, AsArray as _, PrimitiveArray, RecordBatch, StringArray},
    datatypes::{ArrowPrimitiveType, Float64Type, Int32Type, Int64Type, TimestampMicrosecondType},
};
use event::{
    ContentEncoding, ConversationId, Event, EventId, EventType, PartitionId, Position, StoredEvent,
    TenantId, Timestamp,
};
use event_proto::EncodedEvent;

use crate::{
    conform::conform,
    error::{Error, Result},
    schema::events_schema,
};

/// Decodes the events of `batch`, in order of its rows. Columns may be in any order and of any
/// equivalent type (see [`conform`]).
///
/// # Errors
/// [`Error::Checksum`] for a row whose canonical bytes do not match its crc32c, [`Error::Value`],
/// [`Error::Missing`] or [`Error::Arrow`] for a batch of another shape. Permanent.
pub fn decode(batch: &RecordBatch) -> Result<Vec<StoredEvent>> {
    let batch = conform(batch, &events_schema())?;
    let rows = EventRows { batch: &batch };
    (0..batch.num_rows()).map(|row| rows.event(row)).collect()
}

/// Row access to a batch of exactly the events schema.
struct EventRows<'a> {
    batch: &'a RecordBatch,
}

impl EventRows<'_> {
    fn event(&self, row: usize) -> Result<StoredEvent> {
        let stored = StoredEvent {
            event: self.content(row)?,
            position: self.position(row)?,
            received_at: Timestamp::from_micros(
                self.number::<TimestampMicrosecondType>("received_at", row)?,
            ),
            crc32c: u32::try_from(self.number::<Int64Type>("crc32c", row)?)
                .map_err(|_| invalid("crc32c", row))?,
            sample_rate: self.number::<Float64Type>("sample_rate", row)?,
        };
        let position = stored.position;
        if EncodedEvent::encode(&stored.event).crc32c != stored.crc32c {
            return Err(Error::Checksum { position });
        }
        Ok(stored)
    }

    /// The event of a row, its checksum not verified.
    fn content(&self, row: usize) -> Result<Event> {
        let id = self.text("event_id", row)?;
        let tenant = self.parsed("tenant", row, TenantId::new)?;
        let conversation_id = self.parsed("conversation_id", row, ConversationId::new)?;
        let event_id = match EventId::from_text(&tenant, &conversation_id, id) {
            Ok((event_id, false)) => event_id,
            Ok((_, true)) | Err(_) => return Err(invalid("event_id", row)),
        };
        let content_encoding = match self.optional("content_encoding", row) {
            None => ContentEncoding::Utf8,
            Some("base64") => ContentEncoding::Base64,
            Some(_) => return Err(invalid("content_encoding", row)),
        };
        let owned = |column| self.optional(column, row).map(str::to_owned);
        Ok(Event {
            event_id,
            tenant,
            conversation_id,
            task_id: owned("task_id"),
            event_type: self.parsed("type", row, EventType::new)?,
            timestamp: Timestamp::from_micros(
                self.number::<TimestampMicrosecondType>("timestamp", row)?,
            ),
            content: self.text("content", row)?.to_owned(),
            content_encoding,
            metadata: owned("metadata").unwrap_or_default(),
            correlation_id: owned("correlation_id"),
            trace_id: owned("trace_id"),
            span_id: owned("span_id"),
        })
    }

    fn position(&self, row: usize) -> Result<Position> {
        let small = |column| {
            let value = self.number::<Int32Type>(column, row)?;
            u16::try_from(value).map_err(|_| invalid(column, row))
        };
        let partition = PartitionId {
            generation: small("generation")?,
            partition: small("partition")?,
            epoch: small("epoch")?,
        };
        let seq = u64::try_from(self.number::<Int64Type>("seq", row)?)
            .map_err(|_| invalid("seq", row))?;
        Ok(Position::new(partition, seq, small("idx")?))
    }

    fn optional(&self, column: &str, row: usize) -> Option<&str> {
        let column: &StringArray = self.column(column).as_string();
        column.is_valid(row).then(|| column.value(row))
    }

    fn text(&self, column: &'static str, row: usize) -> Result<&str> {
        self.optional(column, row)
            .ok_or_else(|| invalid(column, row))
    }

    fn parsed<T, E>(
        &self,
        column: &'static str,
        row: usize,
        parse: impl Fn(&str) -> std::result::Result<T, E>,
    ) -> Result<T> {
        parse(self.text(column, row)?).map_err(|_| invalid(column, row))
    }

    fn number<T: ArrowPrimitiveType>(&self, column: &'static str, row: usize) -> Result<T::Native> {
        let values: &PrimitiveArray<T> = self.column(column).as_primitive();
        if values.is_null(row) {
            return Err(invalid(column, row));
        }
        Ok(values.value(row))
    }

    fn column(&self, name: &str) -> &dyn arrow::array::Array {
        self.batch
            .column_by_name(name)
            .expect("a conformed batch has every column of the schema")
    }
}

fn invalid(column: &'static str, row: usize) -> Error {
    Error::Value { column, row }
}
