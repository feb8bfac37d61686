//! The three tables: names, columns and partition columns.

use arrow::datatypes::{DataType, SchemaRef};
use deltalake_core::kernel::{DataType as DeltaType, PrimitiveType, StructField};

/// One of the cold tier's tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// The events, partitioned by tenant and by the day that [`Day`](crate::Day) says.
    Events,
    /// The rollup per tenant, hour and event type.
    HourlyStats,
    /// The rollup per conversation.
    ConversationSummary,
}

impl Table {
    /// All tables.
    pub const ALL: [Self; 3] = [Self::Events, Self::HourlyStats, Self::ConversationSummary];

    /// Returns the name of the table, which is also its folder.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Events => "events",
            Self::HourlyStats => "hourly_stats",
            Self::ConversationSummary => "conversation_summary",
        }
    }

    /// Returns the columns of the rows as readers get them.
    #[must_use]
    pub fn schema(self) -> SchemaRef {
        match self {
            Self::Events => segment::events_schema(),
            Self::HourlyStats => segment::hourly_stats_schema(),
            Self::ConversationSummary => segment::conversation_summary_schema(),
        }
    }

    /// Columns whose value is in the file's path and log entry instead of in the file.
    pub(crate) fn partition_columns(self) -> &'static [&'static str] {
        match self {
            Self::Events => &["tenant", "dt"],
            Self::HourlyStats | Self::ConversationSummary => &[],
        }
    }

    /// Returns the schema as Delta columns; `events` has the partition column `dt` in addition.
    pub(crate) fn delta_columns(self) -> Vec<StructField> {
        let schema = self.schema();
        let columns = schema.fields().iter().map(|field| {
            let primitive = match field.data_type() {
                DataType::Int32 => PrimitiveType::Integer,
                DataType::Int64 => PrimitiveType::Long,
                DataType::Float64 => PrimitiveType::Double,
                DataType::Timestamp(..) => PrimitiveType::Timestamp,
                _ => PrimitiveType::String,
            };
            let nullable = field.is_nullable();
            StructField::new(field.name(), DeltaType::Primitive(primitive), nullable)
        });
        let mut columns: Vec<_> = columns.collect();
        if self == Self::Events {
            let date = DeltaType::Primitive(PrimitiveType::Date);
            columns.push(StructField::new("dt", date, false));
        }
        columns
    }
}
