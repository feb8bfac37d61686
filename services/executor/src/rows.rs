//! The rows of a statement that are in no slice, as Arrow IPC streams for its process.

use std::{
    io::{self, Read},
    mem,
};

use arrow::{
    array::RecordBatch, datatypes::SchemaRef, error::ArrowError, ipc::writer::StreamWriter,
};
use bytes::{Buf as _, Bytes};
use futures::{StreamExt as _, stream::BoxStream};
use tokio::{runtime::Handle, sync::mpsc};
use warm_tier::sql::RowStream;

/// Batches of the compactor, as they come. It is read on a blocking thread.
pub(crate) struct Scanned {
    handle: Handle,
    schema: SchemaRef,
    batches: BoxStream<'static, warm_tier::Result<RecordBatch>>,
    /// `None` when the stream has ended.
    writer: Option<StreamWriter<Vec<u8>>>,
    encoded: Bytes,
}

impl Scanned {
    /// The rows `batches`, in the columns of `schema`.
    pub(crate) fn stream(
        schema: SchemaRef,
        batches: BoxStream<'static, warm_tier::Result<RecordBatch>>,
    ) -> Result<RowStream, ArrowError> {
        Ok(RowStream::new(Self {
            handle: Handle::current(),
            writer: Some(StreamWriter::try_new(Vec::new(), &schema)?),
            schema,
            batches,
            encoded: Bytes::new(),
        }))
    }

    /// Encodes the next batch, or the end.
    fn refill(&mut self) -> io::Result<()> {
        let Some(writer) = &mut self.writer else {
            return Ok(());
        };
        let batch = self.handle.block_on(self.batches.next());
        match batch.transpose().map_err(io::Error::other)? {
            Some(batch) => {
                let batch = segment::conform(&batch, &self.schema).map_err(io::Error::other)?;
                writer.write(&batch).map_err(io::Error::other)?;
                self.encoded = mem::take(writer.get_mut()).into();
            }
            None => {
                writer.finish().map_err(io::Error::other)?;
                self.encoded = mem::take(writer.get_mut()).into();
                self.writer = None;
            }
        }
        Ok(())
    }
}

impl Read for Scanned {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.encoded.is_empty() && self.writer.is_some() {
            self.refill()?;
        }
        Ok(take(&mut self.encoded, into))
    }
}

/// Rows that come with the request, already encoded. It is read on a blocking thread.
pub(crate) struct Received {
    messages: mpsc::Receiver<io::Result<Bytes>>,
    encoded: Bytes,
}

impl Received {
    pub(crate) fn stream(messages: mpsc::Receiver<io::Result<Bytes>>) -> RowStream {
        RowStream::new(Self {
            messages,
            encoded: Bytes::new(),
        })
    }
}

impl Read for Received {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.encoded.is_empty() {
            match self.messages.blocking_recv() {
                Some(message) => self.encoded = message?,
                None => return Ok(0),
            }
        }
        Ok(take(&mut self.encoded, into))
    }
}

fn take(from: &mut Bytes, into: &mut [u8]) -> usize {
    let count = from.len().min(into.len());
    from.copy_to_slice(&mut into[..count]);
    count
}
