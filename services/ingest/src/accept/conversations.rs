//! The conversations of a request, each with a number.

use ahash::HashMap;
use event::{ConversationId, IdError};

/// An interner: each conversation id is validated and allocated once, and then known by its number.
#[derive(Debug, Default)]
pub(super) struct Conversations {
    numbers: HashMap<ConversationId, usize>,
    ids: Vec<ConversationId>,
}

impl Conversations {
    /// The number of the conversation `text`, which is added when it is new; an error when it is no valid id.
    pub(super) fn number(&mut self, text: &str) -> Result<usize, IdError> {
        if let Some(number) = self.numbers.get(text) {
            return Ok(*number);
        }
        let (id, number) = (ConversationId::new(text)?, self.ids.len());
        self.ids.push(id.clone());
        self.numbers.insert(id, number);
        Ok(number)
    }

    /// The id of the conversation `number`.
    pub(super) fn id(&self, number: usize) -> &ConversationId {
        &self.ids[number]
    }
}
