//! Splits a body into items.

use std::fmt;

use serde::{
    Deserializer as _,
    de::{SeqAccess, Visitor},
};
use serde_json::Deserializer;

use crate::problem::Problem;

use super::{ItemError, item::Item};

/// The format of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// One object, or an array of objects.
    Json,
    /// One object per line.
    Lines,
    /// No content type: an array, or concatenated objects.
    Unknown,
}

/// The consumer of items; its error ends the request.
type Sink<'s, 'a> = dyn FnMut(Result<Item<'a>, ItemError>) -> Result<(), Problem> + 's;

/// Passes each item of `text` to `sink`, in order. With `lenient`, a line that is not JSON is a bad item;
/// without, and in every other format, it is an error of the whole request.
pub(super) fn each_item<'a>(
    format: Format,
    lenient: bool,
    text: &'a str,
    sink: &mut Sink<'_, 'a>,
) -> Result<(), Problem> {
    let array = text.trim_ascii_start().starts_with('[');
    match format {
        Format::Lines => each_line(lenient, text, sink),
        Format::Json | Format::Unknown if array => each_element(text, sink),
        Format::Json => match serde_json::from_str(text) {
            Ok(item) => sink(Ok(item)),
            Err(error) => Err(malformed(&error, 0)),
        },
        Format::Unknown => each_value(text, sink),
    }
}

/// Passes the item of each line on.
fn each_line<'a>(lenient: bool, text: &'a str, sink: &mut Sink<'_, 'a>) -> Result<(), Problem> {
    let consumed = each_on_its_own_line(text, sink)?;
    let (before, rest) = text.split_at(consumed);
    if rest.is_empty() {
        return Ok(());
    }
    let lines_before = before.matches('\n').count();
    for (nth, line) in rest.split('\n').enumerate() {
        // Files that were joined have a byte order mark in the middle.
        let line = line.trim_start_matches('\u{feff}');
        if line.trim_ascii().is_empty() {
            continue;
        }
        match serde_json::from_str(line) {
            Ok(item) => sink(Ok(item))?,
            Err(error) => {
                let problem = malformed(&error, lines_before + nth);
                if !lenient {
                    return Err(problem);
                }
                sink(Err(ItemError::new(problem.code, problem.detail)))?;
            }
        }
    }
    Ok(())
}

/// Passes the leading items of `text` on as long as each is alone on its line; returns the offset of the
/// rest. One parser reads them all, so that its buffer for strings with escapes is allocated once and not
/// per line.
fn each_on_its_own_line<'a>(text: &'a str, sink: &mut Sink<'_, 'a>) -> Result<usize, Problem> {
    let mut items = Deserializer::from_str(text).into_iter();
    let mut consumed = 0;
    while let Some(Ok(item)) = items.next() {
        let end = items.byte_offset();
        let start = end - text[consumed..end].trim_ascii_start().len();
        let newline = memchr::memchr(b'\n', &text.as_bytes()[start..]);
        let newline = newline.map_or(text.len(), |at| start + at);
        if newline < end || !text[end..newline].trim_ascii().is_empty() {
            break;
        }
        sink(Ok(item))?;
        consumed = text.len().min(newline + 1);
    }
    Ok(consumed)
}

/// Passes concatenated items on.
fn each_value<'a>(text: &'a str, sink: &mut Sink<'_, 'a>) -> Result<(), Problem> {
    for item in Deserializer::from_str(text).into_iter() {
        match item {
            Ok(item) => sink(Ok(item))?,
            Err(error) => return Err(malformed(&error, 0)),
        }
    }
    Ok(())
}

/// Passes the elements of an array on.
fn each_element<'a>(text: &'a str, sink: &mut Sink<'_, 'a>) -> Result<(), Problem> {
    let mut problem = None;
    let mut json = Deserializer::from_str(text);
    let elements = Elements {
        sink,
        problem: &mut problem,
    };
    let read = json.deserialize_seq(elements).and_then(|()| json.end());
    match (problem, read) {
        (Some(problem), _) => Err(problem),
        (None, Err(error)) => Err(malformed(&error, 0)),
        (None, Ok(())) => Ok(()),
    }
}

/// A visitor that passes array elements to the sink; `problem` gets the sink's error.
struct Elements<'s, 't, 'a> {
    sink: &'s mut Sink<'t, 'a>,
    problem: &'s mut Option<Problem>,
}

impl<'de> Visitor<'de> for Elements<'_, '_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of events")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        while let Some(item) = elements.next_element()? {
            if let Err(problem) = (self.sink)(Ok(item)) {
                *self.problem = Some(problem);
                return Err(serde::de::Error::custom("stopped"));
            }
        }
        Ok(())
    }
}

/// The problem for a syntax error in a text that begins after `lines_before` lines of the body.
fn malformed(error: &serde_json::Error, lines_before: usize) -> Problem {
    let text = error.to_string();
    let what = text.split(" at line ").next().unwrap_or("wrong");
    Problem::malformed(what, lines_before + error.line(), error.column())
}
