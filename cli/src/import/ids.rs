//! Event ids derived from the source alone. Pure.

use event::Timestamp;
use uuid::Uuid;

/// Derives a version 8 UUID: the milliseconds of `at`, then the hash of `parts`. Equal arguments give
/// equal ids, so that an event sent twice is stored once. Ids of one time are close together, which
/// makes the search for duplicates cheap.
pub(super) fn derived(at: Timestamp, parts: &[&[u8]]) -> Uuid {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    let mut bytes = [0; 16];
    hasher.finalize_xof().fill(&mut bytes[6..]);
    let millis = at.as_micros().max(0) / 1000;
    bytes[..6].copy_from_slice(&millis.to_be_bytes()[2..]);
    Uuid::new_v8(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_depends_on_the_time_every_part_and_their_borders() {
        let at = Timestamp::from_micros(1_763_629_200_021_384);
        let id = derived(at, &[b"ab", b"c"]);
        assert_eq!(id, derived(at, &[b"ab", b"c"]));
        assert_ne!(id, derived(at, &[b"a", b"bc"]));
        assert_ne!(id, derived(Timestamp::default(), &[b"ab", b"c"]));
        assert_eq!(id.get_version_num(), 8);
    }
}
