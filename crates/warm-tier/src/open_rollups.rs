//! Rollups of an open part, summed while its events are appended: what a slice's tables `hourly_stats` and
//! `conversation_summary` would have. Pure.

use std::{cmp::Reverse, collections::BTreeMap};

use ahash::HashMap;
use event::{Seq, StoredEvent, Timestamp};
use segment::{MAX_HOURLY_TYPES, OTHER_TYPES};

/// Bytes of memory of a sum beside its name. Measured, rounded up.
const SUM_BYTES: u64 = 256;

/// What the rollups need of an event.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Counted<'a> {
    pub tenant: &'a str,
    pub conversation: &'a str,
    pub event_type: &'a str,
    pub timestamp: Timestamp,
    /// Bytes of content.
    pub bytes: i64,
    pub offset: (Seq, u16),
}

impl<'a> From<&'a StoredEvent> for Counted<'a> {
    fn from(stored: &'a StoredEvent) -> Self {
        let event = &stored.event;
        Self {
            tenant: event.tenant.as_str(),
            conversation: event.conversation_id.as_str(),
            event_type: event.event_type.as_str(),
            timestamp: event.timestamp,
            bytes: i64::try_from(event.content.len()).unwrap_or(i64::MAX),
            offset: stored.position.offset(),
        }
    }
}

/// The events of one hour and type.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sums {
    pub events: i64,
    pub bytes: i64,
}

impl Sums {
    fn add(&mut self, other: Self) {
        self.events += other.events;
        self.bytes += other.bytes;
    }
}

/// The events of one conversation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Summary {
    pub sums: Sums,
    pub first: Timestamp,
    pub last: Timestamp,
    /// The first event by position.
    pub start: ((Seq, u16), Timestamp),
    pub last_seq: Seq,
    pub errors: i64,
}

/// The rollups of one tenant.
#[derive(Debug, Default)]
pub(crate) struct TenantRollups {
    hours: BTreeMap<Timestamp, BTreeMap<String, Sums>>,
    conversations: HashMap<String, Summary>,
}

/// The rollups of an open part, or of some of its events.
#[derive(Debug, Default)]
pub(crate) struct OpenRollups {
    tenants: BTreeMap<String, TenantRollups>,
    sums: u64,
    name_bytes: u64,
}

impl OpenRollups {
    /// Adds the next event by position.
    pub(crate) fn add(&mut self, event: &Counted<'_>) {
        if !self.tenants.contains_key(event.tenant) {
            self.tenants
                .insert(event.tenant.to_owned(), TenantRollups::default());
        }
        let tenant = self.tenants.get_mut(event.tenant);
        let new = tenant.map_or((0, 0), |tenant| tenant.add(event));
        self.sums += new.0;
        self.name_bytes += new.1;
    }

    /// The rollups of each tenant, or of `only` one.
    pub(crate) fn tenants(
        &self,
        only: Option<&str>,
    ) -> impl Iterator<Item = (&str, &TenantRollups)> {
        let all = self.tenants.iter().map(|(name, own)| (name.as_str(), own));
        all.filter(move |(name, _)| only.is_none_or(|only| only == *name))
    }

    /// Bytes of memory.
    pub(crate) fn memory_bytes(&self) -> u64 {
        self.sums * SUM_BYTES + self.name_bytes
    }
}

impl TenantRollups {
    /// Returns the number of new sums, and the bytes of their names.
    fn add(&mut self, event: &Counted<'_>) -> (u64, u64) {
        let (mut sums, mut bytes) = (0, 0);
        let types = self.hours.entry(event.timestamp.hour()).or_default();
        let one = Sums {
            events: 1,
            bytes: event.bytes,
        };
        match types.get_mut(event.event_type) {
            Some(known) => known.add(one),
            None => {
                types.insert(event.event_type.to_owned(), one);
                sums += 1;
                bytes += event.event_type.len() as u64;
            }
        }
        match self.conversations.get_mut(event.conversation) {
            Some(known) => known.add(event),
            None => {
                let mut summary = Summary::starting_with(event);
                summary.add(event);
                self.conversations
                    .insert(event.conversation.to_owned(), summary);
                sums += 1;
                bytes += event.conversation.len() as u64;
            }
        }
        (sums, bytes)
    }

    /// The sums by hour and type. An hour has [`MAX_HOURLY_TYPES`] types at most, and the rest as one: those
    /// with the fewest events, then those last by name.
    pub(crate) fn hours(&self) -> impl Iterator<Item = (Timestamp, String, Sums)> {
        self.hours.iter().flat_map(|(hour, types)| {
            let types = frequent(types).into_iter();
            types.map(|(name, sums)| (*hour, name, sums))
        })
    }

    /// The summaries by conversation, in no order, or of `only` one.
    pub(crate) fn conversations(
        &self,
        only: Option<&str>,
    ) -> impl Iterator<Item = (&str, &Summary)> {
        let one = only.and_then(|only| self.conversations.get_key_value(only));
        let all = only.is_none().then_some(&self.conversations);
        let all = all.into_iter().flatten();
        one.into_iter()
            .chain(all)
            .map(|(name, own)| (name.as_str(), own))
    }
}

fn frequent(types: &BTreeMap<String, Sums>) -> BTreeMap<String, Sums> {
    if types.len() <= MAX_HOURLY_TYPES {
        return types.clone();
    }
    let mut ranked: Vec<_> = types.iter().collect();
    // Stable, so that equal numbers stay ordered by name.
    ranked.sort_by_key(|(_, sums)| Reverse(sums.events));
    let rare = ranked.split_off(MAX_HOURLY_TYPES);
    let ranked = ranked.into_iter().map(|(name, sums)| (name.clone(), *sums));
    let mut frequent: BTreeMap<_, _> = ranked.collect();
    let other = frequent.entry(OTHER_TYPES.to_owned()).or_default();
    rare.into_iter().for_each(|(_, sums)| other.add(*sums));
    frequent
}

impl Summary {
    fn starting_with(event: &Counted<'_>) -> Self {
        Self {
            sums: Sums::default(),
            first: event.timestamp,
            last: event.timestamp,
            start: (event.offset, event.timestamp),
            last_seq: 0,
            errors: 0,
        }
    }

    fn add(&mut self, event: &Counted<'_>) {
        self.sums.add(Sums {
            events: 1,
            bytes: event.bytes,
        });
        self.first = self.first.min(event.timestamp);
        self.last = self.last.max(event.timestamp);
        self.last_seq = self.last_seq.max(event.offset.0);
        self.errors += i64::from(event.event_type.starts_with("error"));
    }
}
