//! The conversations that a request names.

use ahash::HashMap;
use event::{ConversationId, IdError};

/// Each is checked and made once, however many events name it, and then known by its number.
#[derive(Debug, Default)]
pub(super) struct Conversations {
    numbers: HashMap<ConversationId, usize>,
    ids: Vec<ConversationId>,
}

impl Conversations {
    pub(super) fn number(&mut self, text: &str) -> Result<usize, IdError> {
        if let Some(number) = self.numbers.get(text) {
            return Ok(*number);
        }
        let (id, number) = (ConversationId::new(text)?, self.ids.len());
        self.ids.push(id.clone());
        self.numbers.insert(id, number);
        Ok(number)
    }

    pub(super) fn id(&self, number: usize) -> &ConversationId {
        &self.ids[number]
    }
}
