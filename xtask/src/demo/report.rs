//! The report at the end of the demo.

use std::fmt::Write as _;

use super::view::{Tier, View};

const SHARES: &str = "\
SELECT type, taken, kept, round(100.0 * kept / taken, 1) AS percent FROM \
(SELECT type, sum(events)::BIGINT AS taken FROM hourly_stats GROUP BY type) \
JOIN (SELECT type, count(*) AS kept FROM events GROUP BY type) USING (type) \
ORDER BY taken DESC";

const ROLLUPS: &str = "\
SELECT conversation_id, events, bytes, errors FROM conversation_summary \
ORDER BY events DESC LIMIT 8";

const SMALL_SEGMENTS: &str = "\
\x20 (In accelerated time warm seals every few seconds: mostly small files, mostly their headers.)
";

/// The tiers and one conversation, while events still come in.
pub(super) fn live(view: &View, conversation: &str) -> anyhow::Result<String> {
    let mut text = String::new();
    let tiers = view.tiers()?;
    write!(text, "\nWhat each tier has\n{}", table(&tiers))?;
    text.push_str(SMALL_SEGMENTS);
    let (answered, events) = view.read(conversation)?;
    write!(
        text,
        "\nOne conversation, one answer\n  isotherm get {conversation}\n  {events} events, \
         Isotherm-Tiers: {answered}\n"
    )?;
    Ok(text)
}

/// The rollups, and the events taken compared with the events kept.
pub(super) fn sums(view: &View) -> anyhow::Result<String> {
    let mut text = String::new();
    let stats = view.table(&["stats"])?;
    write!(text, "\nThe rollups, exact for ever\n{stats}")?;
    let summaries = view.table(&["query", ROLLUPS])?;
    write!(
        text,
        "\nThe longest conversations, by their summaries\n{summaries}"
    )?;
    let shares = view.table(&["query", SHARES])?;
    write!(text, "\nWhat sampling kept so far, by type\n{shares}")?;
    Ok(text)
}

fn table(tiers: &[Tier]) -> String {
    let mut text = format!(
        "  {:<6}{:>10}{:>14}{:>14}   {}\n",
        "TIER", "EVENTS", "BYTES", "BYTES/EVENT", "OLDEST"
    );
    for tier in tiers {
        let per_event = tier.bytes_per_event.map(|bytes| format!("{bytes:.1}"));
        let line = format!(
            "  {:<6}{:>10}{:>14}{:>14}   {}\n",
            tier.tier,
            tier.events,
            tier.bytes,
            per_event.unwrap_or_default(),
            tier.oldest_at.as_deref().unwrap_or_default(),
        );
        text.push_str(&line);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiers_are_shown_in_columns() {
        let tier = |name: &str, events, bytes_per_event| Tier {
            tier: name.to_owned(),
            events,
            bytes: 1234,
            bytes_per_event,
            oldest_at: Some("2026-11-20T09:00:00.000000Z".to_owned()),
        };
        assert_eq!(
            table(&[tier("hot", 10, Some(123.44)), tier("cold", 0, None)]),
            "  TIER      EVENTS         BYTES   BYTES/EVENT   OLDEST\n  \
             hot           10          1234         123.4   2026-11-20T09:00:00.000000Z\n  \
             cold           0          1234                 2026-11-20T09:00:00.000000Z\n"
        );
    }
}
