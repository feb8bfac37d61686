//! Pages within the memory for requests. Whether a page is small is found out by reading it; a large one is
//! then read again in the part for large ones. While others have all of that, it ends where a small one does.

use std::time::Duration;

use service_runtime::Reservation;

use super::Page;
use crate::{
    error::Result,
    memory::{
        MAX_PAGE_BYTES, MAX_ROW_BYTES, MEMORY_WAIT, SMALL_PAGE_BYTES, SMALL_READ_BYTES,
        TAIL_PAGE_BYTES, TAIL_READ_BYTES,
    },
    read_limit::ReadLimit,
    rows::ReadRequest,
    sources::Sources,
};

impl Sources {
    /// Reads a page of up to `rows` rows, with the memory that it holds.
    ///
    /// # Errors
    ///
    /// As [`Sources::read`], and `overloaded` when there is no memory.
    pub(crate) async fn read_page(
        &self,
        request: ReadRequest,
        rows: usize,
    ) -> Result<(Page, Reservation)> {
        let pool = &self.memory.small_pages;
        let mut memory = pool.reserve(SMALL_READ_BYTES, MEMORY_WAIT).await?;
        let limit = ReadLimit {
            rows,
            bytes: SMALL_PAGE_BYTES,
        };
        let page = self.read(request.clone(), limit, &mut memory).await?;
        if !page.is_cut {
            return Ok(with_memory(page, memory));
        }
        let pool = &self.memory.large_pages;
        let Ok(large) = pool.reserve(MAX_PAGE_BYTES, Duration::ZERO).await else {
            return Ok(with_memory(page, memory));
        };
        drop((page, std::mem::replace(&mut memory, large)));
        let limit = ReadLimit {
            rows,
            bytes: MAX_PAGE_BYTES - MAX_ROW_BYTES,
        };
        let page = self.read(request, limit, &mut memory).await?;
        Ok(with_memory(page, memory))
    }

    /// Reads the next page of a tail, with the memory that it holds: a small one, or one row.
    ///
    /// # Errors
    ///
    /// As [`Sources::read_page`].
    pub(crate) async fn read_tail(
        &self,
        request: ReadRequest,
        rows: usize,
    ) -> Result<(Page, Reservation)> {
        let pool = &self.memory.tails;
        let mut memory = pool.reserve(TAIL_READ_BYTES, MEMORY_WAIT).await?;
        let limit = ReadLimit {
            rows,
            bytes: TAIL_PAGE_BYTES,
        };
        let page = self.read(request.clone(), limit, &mut memory).await?;
        if !page.is_cut || !page.rows.is_empty() {
            return Ok(with_memory(page, memory));
        }
        drop((page, memory));
        let mut memory = pool.reserve(2 * MAX_ROW_BYTES, MEMORY_WAIT).await?;
        let limit = ReadLimit {
            rows: 1,
            bytes: MAX_ROW_BYTES,
        };
        let page = self.read(request, limit, &mut memory).await?;
        Ok(with_memory(page, memory))
    }
}

/// Gives back the memory that `page` does not need.
fn with_memory(page: Page, mut memory: Reservation) -> (Page, Reservation) {
    memory.shrink_to(page.bytes);
    (page, memory)
}
