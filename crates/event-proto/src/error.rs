//! The error of decoding bytes.

use event::IdError;

use crate::metadata::MetadataError;

/// The reason why bytes could not be decoded. Permanent: the same bytes fail again, so do not retry.
/// All but [`DecodeError::Version`] mean that the bytes are damaged or forged.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    #[error("not a protobuf message of the expected kind")]
    Protobuf(#[from] prost::DecodeError),
    /// A later version of the program wrote it: only that can read it.
    #[error("format version {0} is later than this program knows")]
    Version(u32),
    #[error("compressed block is damaged")]
    Compression,
    /// A field whose length or count contradicts the other fields.
    #[error("{0} does not fit the other fields")]
    Shape(&'static str),
    #[error("checksum of an event is {found:08x}, expected {expected:08x}")]
    Checksum { expected: u32, found: u32 },
    /// A field whose value is not allowed.
    #[error("field {0} is not valid")]
    Field(&'static str),
    /// A name that ingest would have refused.
    #[error(transparent)]
    Id(#[from] IdError),
    #[error("{field} of {micros} microseconds since 1970 is not in the years 1 to 9999")]
    Time { field: &'static str, micros: i64 },
    #[error("{field} has {found} bytes, at most {max} are allowed")]
    TooLarge {
        field: &'static str,
        found: usize,
        max: usize,
    },
    #[error("{0} contains the character U+0000")]
    Nul(&'static str),
    #[error(transparent)]
    Metadata(#[from] MetadataError),
}

/// The error for a field `version` that is not `known`: 0 stands where no version was written at all.
pub(crate) fn check_version(found: u32, known: u32) -> Result<(), DecodeError> {
    match found {
        0 => Err(DecodeError::Field("version")),
        found if found > known => Err(DecodeError::Version(found)),
        _ => Ok(()),
    }
}
