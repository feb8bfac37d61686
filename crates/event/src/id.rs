//! Identifiers: validated once, when they are parsed at the edge.

use std::{borrow::Borrow, fmt, str::FromStr, sync::Arc};

use uuid::Uuid;

/// The reason why a text is not a valid identifier. Permanent: the same text fails again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    #[error("{what} is empty")]
    Empty { what: &'static str },
    #[error("{what} is {len} bytes long, at most {max} are allowed")]
    TooLong {
        what: &'static str,
        len: usize,
        max: usize,
    },
    #[error("{what} contains {found:?}; allowed are {allowed}")]
    Character {
        what: &'static str,
        found: char,
        allowed: &'static str,
    },
    #[error("{what} contains the path segment {segment:?}, which is not allowed")]
    Segment {
        what: &'static str,
        segment: &'static str,
    },
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident($text:ty), $what:literal, $max:literal, $extra:literal,
     $allowed:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name($text);

        impl $name {
            /// The longest text allowed, in bytes.
            pub const MAX_BYTES: usize = $max;

            /// Parses `text`.
            ///
            /// # Errors
            /// [`IdError`] if `text` is empty, too long or has characters or path segments that are
            /// not allowed. Reject the input.
            pub fn new(text: &str) -> Result<Self, IdError> {
                Self::check(text)?;
                Ok(Self(text.into()))
            }

            /// Validates `text` without allocating.
            ///
            /// # Errors
            /// The same as `new`.
            pub fn check(text: &str) -> Result<(), IdError> {
                const ACCEPTED: [bool; 128] = accepted($extra);
                check(text, $what, $max, &ACCEPTED, $allowed)
            }

            /// The identifier as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        /// Lets a set or map of identifiers be queried with a `&str`.
        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                self.as_str()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                Self::new(text)
            }
        }
    };
}

text_id!(
    /// The owner of an event. Comes from the credential, never from a request body. Many events have
    /// the same few tenants, so clones share the text.
    TenantId(Arc<str>), "tenant", 63, "-_.", "ASCII letters, digits and - _ ."
);
text_id!(
    /// The conversation that an event belongs to. Clones share the text.
    ConversationId(Arc<str>), "conversation_id", 256, "-_.:@/+=~",
    "ASCII letters, digits and - _ . : @ / + = ~"
);
text_id!(
    /// The dotted type of an event, for example `output.chunk`.
    EventType(Box<str>), "type", 128, "-_.:/", "ASCII letters, digits and - _ . : /"
);

impl TenantId {
    /// The tenant `default`: that of a server without credentials.
    #[must_use]
    pub fn default_tenant() -> Self {
        Self("default".into())
    }
}

/// The ASCII characters allowed in an identifier, by code: letters, digits and those of `extra`.
const fn accepted(extra: &str) -> [bool; 128] {
    let mut table = [false; 128];
    let mut byte = 0_u8;
    while byte < 128 {
        table[byte as usize] = byte.is_ascii_alphanumeric();
        byte += 1;
    }
    let (extra, mut at) = (extra.as_bytes(), 0);
    while at < extra.len() {
        table[extra[at] as usize] = true;
        at += 1;
    }
    table
}

fn check(
    text: &str,
    what: &'static str,
    max: usize,
    accepted: &[bool; 128],
    allowed: &'static str,
) -> Result<(), IdError> {
    if text.is_empty() {
        return Err(IdError::Empty { what });
    }
    if text.len() > max {
        let len = text.len();
        return Err(IdError::TooLong { what, len, max });
    }
    let not_allowed = |c: &char| !accepted.get(*c as usize).is_some_and(|yes| *yes);
    if let Some(found) = text.chars().find(not_allowed) {
        return Err(IdError::Character {
            what,
            found,
            allowed,
        });
    }
    if !text.contains('.') {
        return Ok(());
    }
    match text.split('/').find(|part| matches!(*part, "." | "..")) {
        Some(".") => Err(IdError::Segment { what, segment: "." }),
        Some(_) => Err(IdError::Segment {
            what,
            segment: "..",
        }),
        None => Ok(()),
    }
}

/// The identity of an event within its tenant and conversation: 16 bytes, chosen by the producer
/// before its first attempt to send, so that a retry has the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId(Uuid);

impl EventId {
    /// The longest text that [`Self::from_text`] accepts, in bytes.
    pub const MAX_TEXT_BYTES: usize = 128;

    /// Makes an id of its 128-bit value.
    #[must_use]
    pub const fn from_u128(value: u128) -> Self {
        Self(Uuid::from_u128(value))
    }

    /// The id as a 128-bit value.
    #[must_use]
    pub const fn as_u128(&self) -> u128 {
        self.0.as_u128()
    }

    /// The id's bytes, big-endian.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }

    /// Makes an id of its bytes, big-endian.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }

    /// Makes an id of a UUID of any version.
    #[must_use]
    pub const fn from_uuid(uuid: Uuid) -> Self {
        Self(uuid)
    }

    /// Derives an id from a producer's text; the flag is true if the text was hashed.
    ///
    /// A UUID in lower-case hyphenated form is used as it is. Any other text becomes a version 8
    /// UUID of 122 bits of the blake3 hash over tenant, conversation and text, so that equal texts in two
    /// conversations are two events.
    ///
    /// # Errors
    /// [`IdError`] if `text` is empty, longer than [`Self::MAX_TEXT_BYTES`] or contains a control
    /// character. Reject the event.
    pub fn from_text(
        tenant: &TenantId,
        conversation: &ConversationId,
        text: &str,
    ) -> Result<(Self, bool), IdError> {
        const FIELD_NAME: &str = "event_id";
        if text.is_empty() {
            return Err(IdError::Empty { what: FIELD_NAME });
        }
        if text.len() > Self::MAX_TEXT_BYTES {
            return Err(IdError::TooLong {
                what: FIELD_NAME,
                len: text.len(),
                max: Self::MAX_TEXT_BYTES,
            });
        }
        if let Some(uuid) = canonical_uuid(text) {
            return Ok((Self(uuid), false));
        }
        if let Some(found) = text.chars().find(|c| c.is_control()) {
            return Err(IdError::Character {
                what: FIELD_NAME,
                found,
                allowed: "a UUID, or any text without control characters",
            });
        }
        let mut hasher = blake3::Hasher::new();
        for part in [tenant.as_str(), conversation.as_str(), text] {
            hasher.update(part.as_bytes()).update(&[0]);
        }
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        Ok((Self(Uuid::new_v8(bytes)), true))
    }
}

/// The UUID in `text`, if formatting it gives back exactly `text`.
fn canonical_uuid(text: &str) -> Option<Uuid> {
    let canonical = text.len() == 36 && !text.bytes().any(|byte| byte.is_ascii_uppercase());
    canonical.then(|| Uuid::try_parse(text).ok()).flatten()
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests;
