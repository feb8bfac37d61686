//! The error of decoding bytes.

/// The reason why bytes could not be decoded. Permanent: the same bytes fail again, so quarantine
/// or count them instead of retrying.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    #[error("not a protobuf message of the expected kind")]
    Protobuf(#[from] prost::DecodeError),
    #[error("unknown format version {0}")]
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
}
