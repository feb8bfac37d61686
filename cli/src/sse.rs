//! Parser of server-sent events: bytes -> messages. Pure.

/// One message; a field that was not sent is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) id: String,
    pub(crate) event: String,
    pub(crate) data: String,
}

/// Incremental parser; the input may be cut anywhere.
#[derive(Debug, Default)]
pub(crate) struct Parser {
    line: Vec<u8>,
    after_cr: bool,
    message: Message,
    has_data: bool,
}

impl Parser {
    /// Parses `bytes` and returns the messages that end in them.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Vec<Message> {
        let mut messages = Vec::new();
        for &byte in bytes {
            let after_cr = std::mem::take(&mut self.after_cr);
            match byte {
                b'\n' if after_cr => {}
                b'\n' | b'\r' => {
                    self.after_cr = byte == b'\r';
                    let line = std::mem::take(&mut self.line);
                    messages.extend(self.line(&String::from_utf8_lossy(&line)));
                }
                _ => self.line.push(byte),
            }
        }
        messages
    }

    fn line(&mut self, line: &str) -> Option<Message> {
        if line.is_empty() {
            let mut message = std::mem::take(&mut self.message);
            // Each data line was appended with a line end; the last one is not part of the data.
            message.data.pop();
            return std::mem::take(&mut self.has_data).then_some(message);
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "id" => value.clone_into(&mut self.message.id),
            "event" => value.clone_into(&mut self.message.event),
            "data" => {
                self.has_data = true;
                self.message.data.push_str(value);
                self.message.data.push('\n');
            }
            // Comments (an empty field) keep the connection alive.
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_may_come_in_any_pieces() {
        let stream =
            ": hello\n\nid: 7\nevent: x\ndata: a\ndata:b\r\n\r\ndata\n\nid: 8\n\ndata: \u{e9}\n\n";
        let mut whole = Parser::default();
        let expected = whole.push(stream.as_bytes());
        for size in 1..9 {
            let mut parser = Parser::default();
            let pieces = stream.as_bytes().chunks(size);
            let messages: Vec<Message> = pieces.flat_map(|piece| parser.push(piece)).collect();
            assert_eq!(messages, expected, "{size}");
        }
        let data: Vec<&str> = expected
            .iter()
            .map(|message| message.data.as_str())
            .collect();
        assert_eq!(data, ["a\nb", "", "é"]);
        assert_eq!(
            (expected[0].id.as_str(), expected[0].event.as_str()),
            ("7", "x")
        );
    }
}
