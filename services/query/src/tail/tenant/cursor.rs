//! Where the tail of a tenant is. Pure.

use std::fmt;

use event::Seq;

/// Prefix of a cursor: its kind and version.
const CURSOR_PREFIX: &str = "t1:";

/// Cursor of a tenant's tail: the `(seq, idx)` of the last event by partition, as `t1:42-3,17-65535`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TenantCursor(pub(super) Vec<(Seq, u16)>);

impl fmt::Display for TenantCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(CURSOR_PREFIX)?;
        for (index, (seq, idx)) in self.0.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            write!(f, "{comma}{seq}-{idx}")?;
        }
        Ok(())
    }
}

impl TenantCursor {
    pub(super) fn parse(text: &str, count: usize) -> Option<Self> {
        let offset = |text: &str| {
            let (seq, idx) = text.split_once('-')?;
            Some((seq.parse().ok()?, idx.parse().ok()?))
        };
        let offsets = text.strip_prefix(CURSOR_PREFIX)?.split(',').map(offset);
        let offsets: Option<Vec<_>> = offsets.collect();
        offsets.filter(|offsets| offsets.len() == count).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::TenantCursor;

    #[test]
    fn a_cursor_survives_its_text() {
        let cursor = TenantCursor(vec![(42, 3), (0, u16::MAX)]);
        assert_eq!(cursor.to_string(), "t1:42-3,0-65535");
        assert_eq!(TenantCursor::parse("t1:42-3,0-65535", 2), Some(cursor));
        for text in [
            "",
            "t1:",
            "t1:1-1",
            "42-3,0-65535",
            "t1:1-1,2",
            "t1:1-1,2-99999",
        ] {
            assert_eq!(TenantCursor::parse(text, 2), None, "{text}");
        }
    }
}
