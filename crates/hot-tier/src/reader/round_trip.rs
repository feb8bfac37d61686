//! One round trip of a read: some entries of a conversation, with the cursor and the floor.

use std::collections::VecDeque;

use event::Seq;
use redis::Value;

use super::{HotReader, commands::add_entry_commands};
use crate::{
    connection::reply,
    cursor::{Fields, HotCursor, from_score},
    entry::{Entry, parse_entries},
    error::Result,
    key::{Keys, id},
    page::{Duplicates, ReadRequest},
};

/// The result of one round trip.
pub(super) struct Page {
    pub(super) cursor: HotCursor,
    /// The conversation's floor.
    pub(super) floor: Seq,
    /// Memory of all entries of the conversation, as the server counts it; 0 behind the first page.
    pub(super) stored_bytes: u64,
    /// `None` if the conversation has none.
    pub(super) duplicates: Option<Duplicates>,
    pub(super) entries: Vec<Entry>,
    /// It has as many entries as were requested: there may be more behind it.
    pub(super) full: bool,
}

impl HotReader {
    /// Reads the next `count` entries behind the entry `behind`, with the cursor and the floor, in one
    /// transaction; then which of their events are duplicates, if the conversation has any. `None`
    /// without a cursor.
    pub(super) async fn page(
        &self,
        request: &ReadRequest<'_>,
        member: &str,
        behind: Option<(Seq, u16)>,
        count: usize,
    ) -> Result<Option<Page>> {
        let keys = Keys::of(request.partition);
        let (cursor_key, key) = (keys.cursor(), keys.packs(member));
        let mut pipe = redis::pipe();
        pipe.atomic().hgetall(&cursor_key);
        pipe.zscore(keys.floors(), member);
        pipe.exists(keys.duplicates(member));
        add_entry_commands(&mut pipe, &key, request, behind, count);
        if behind.is_none() {
            pipe.cmd("MEMORY").arg("USAGE").arg(&key);
            pipe.arg("SAMPLES").arg(0);
        }
        let replies: Vec<Value> = self.query(&pipe).await?;
        let mut replies = VecDeque::from(replies);
        let fields: Fields = reply(&mut replies)?;
        let own_floor: Option<f64> = reply(&mut replies)?;
        let has_duplicates: bool = reply(&mut replies)?;
        let straddling: Value = reply(&mut replies)?;
        let entries: Value = reply(&mut replies)?;
        let stored_bytes: Option<u64> = reply(&mut replies)?;
        let Some(cursor) = HotCursor::parse(&cursor_key, &fields)? else {
            return Ok(None);
        };
        if cursor.epoch != request.partition.epoch {
            return Ok(None);
        }
        let page_entries = parse_entries(&key, entries)?;
        let full = page_entries.len() == count;
        let mut entries = parse_entries(&key, straddling)?;
        entries.extend(page_entries);
        let floor = own_floor.map_or(0, from_score).max(cursor.floor);
        let mut page = Page {
            cursor,
            floor,
            stored_bytes: stored_bytes.unwrap_or(0),
            duplicates: None,
            entries,
            full,
        };
        if has_duplicates {
            self.read_duplicates(&mut page, keys, member, &key).await?;
        }
        Ok(Some(page))
    }

    /// Asks which events of `page` are duplicates. Takes the floor again, because a trim in between
    /// removes the marks of what it trims: the caller then reads again.
    async fn read_duplicates(
        &self,
        page: &mut Page,
        keys: Keys,
        member: &str,
        key: &str,
    ) -> Result<()> {
        let mut offsets = Vec::new();
        for entry in &page.entries {
            let events = entry.events(key)?;
            offsets.extend(events.iter().map(|event| (event.seq, event.idx)));
        }
        if offsets.is_empty() {
            return Ok(());
        }
        let ids: Vec<String> = offsets.iter().map(|offset| id(*offset)).collect();
        let mut pipe = redis::pipe();
        pipe.atomic();
        pipe.smismember(keys.duplicates(member), &ids);
        pipe.hget(keys.cursor(), "floor");
        pipe.zscore(keys.floors(), member);
        let (known, floor, own_floor): (Vec<bool>, Option<Seq>, Option<f64>) =
            self.query(&pipe).await?;
        let floor = floor.unwrap_or(Seq::MAX);
        page.floor = own_floor.map_or(0, from_score).max(floor);
        let known = offsets.into_iter().zip(known).filter(|(_, known)| *known);
        page.duplicates = Some(known.map(|(offset, _)| offset).collect());
        Ok(())
    }
}

impl Page {
    /// Whether this page and one with `cursor` and `floor` before it form one range. The tier may have been
    /// lost between the two, and filled again only in part.
    pub(super) fn continues(&self, cursor: &HotCursor, floor: Seq) -> bool {
        self.floor == floor
            && self.cursor.last >= cursor.last
            && self.cursor.checked >= cursor.checked
    }
}
