//! Identifiers: parsed at the edge, valid ever after.

use std::{borrow::Borrow, fmt, str::FromStr, sync::Arc};

use uuid::Uuid;

/// Why a text is no identifier.
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
            pub fn new(text: &str) -> Result<Self, IdError> {
                Self::check(text)?;
                Ok(Self(text.into()))
            }

            /// Says why `text` is none.
            pub fn check(text: &str) -> Result<(), IdError> {
                const ACCEPTED: [bool; 128] = accepted($extra);
                check(text, $what, $max, &ACCEPTED, $allowed)
            }

            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        /// So that a set of them can be asked for a text.
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
    /// Who owns an event. Comes from the credential, never from a body. Every event has a copy of
    /// the same few, so copies share the text.
    TenantId(Arc<str>), "tenant", 63, "-_.", "ASCII letters, digits and - _ ."
);
text_id!(
    /// The conversation (stream) that an event belongs to. Copies share the text.
    ConversationId(Arc<str>), "conversation_id", 256, "-_.:@/+=~",
    "ASCII letters, digits and - _ . : @ / + = ~"
);
text_id!(
    /// The dotted type of an event, for example `output.chunk`.
    EventType(Box<str>), "type", 128, "-_.:/", "ASCII letters, digits and - _ . : /"
);

impl TenantId {
    /// The tenant of a server that asks for no credentials.
    #[must_use]
    pub fn default_tenant() -> Self {
        Self("default".into())
    }
}

/// Which ASCII characters may be in an identifier.
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
    let refused = |c: &char| !accepted.get(*c as usize).is_some_and(|yes| *yes);
    if let Some(found) = text.chars().find(refused) {
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

/// The identity of an event within its tenant and conversation, chosen by its producer before the
/// first try.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId(Uuid);

impl EventId {
    /// The longest producer-chosen text, in bytes.
    pub const MAX_TEXT_BYTES: usize = 128;

    #[must_use]
    pub const fn from_u128(value: u128) -> Self {
        Self(Uuid::from_u128(value))
    }

    #[must_use]
    pub const fn as_u128(&self) -> u128 {
        self.0.as_u128()
    }

    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }

    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }

    #[must_use]
    pub const fn from_uuid(uuid: Uuid) -> Self {
        Self(uuid)
    }

    /// The id that a producer's own text stands for: the UUID it spells in the usual hyphenated form, else a version 8
    /// UUID made of the first 122 bits of its blake3 hash (tenant and conversation included, so
    /// that equal texts in two conversations stay two events). The flag says whether it was hashed.
    pub fn from_text(
        tenant: &TenantId,
        conversation: &ConversationId,
        text: &str,
    ) -> Result<(Self, bool), IdError> {
        const WHAT: &str = "event_id";
        if text.is_empty() {
            return Err(IdError::Empty { what: WHAT });
        }
        if text.len() > Self::MAX_TEXT_BYTES {
            return Err(IdError::TooLong {
                what: WHAT,
                len: text.len(),
                max: Self::MAX_TEXT_BYTES,
            });
        }
        if let Some(uuid) = canonical_uuid(text) {
            return Ok((Self(uuid), false));
        }
        if let Some(found) = text.chars().find(|c| c.is_control()) {
            return Err(IdError::Character {
                what: WHAT,
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

/// The UUID that `text` spells exactly as it would be written back, so that nothing is lost.
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
