//! A body becomes items.

use std::fmt;

use serde::{
    Deserializer as _,
    de::{SeqAccess, Visitor},
};
use serde_json::Deserializer;

use crate::problem::Problem;

use super::{Bad, item::Item};

/// How the items lie in the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// One object, or an array of objects.
    Json,
    /// One object per line.
    Lines,
    /// Nobody said: an array, or objects one behind the other.
    Unknown,
}

type Sink<'s, 'a> = dyn FnMut(Result<Item<'a>, Bad>) -> Result<(), Problem> + 's;

/// Hands each item of `text` to `sink`, in order. With `lenient`, a line that is no JSON is a bad
/// item; without, and in every other format, it is the end of the request.
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

fn each_line<'a>(lenient: bool, text: &'a str, sink: &mut Sink<'_, 'a>) -> Result<(), Problem> {
    let taken = each_alone(text, sink)?;
    let (before, rest) = text.split_at(taken);
    if rest.is_empty() {
        return Ok(());
    }
    let before = before.matches('\n').count();
    for (nth, line) in rest.split('\n').enumerate() {
        if line.trim_ascii().is_empty() {
            continue;
        }
        match serde_json::from_str(line) {
            Ok(item) => sink(Ok(item))?,
            Err(error) => {
                let problem = malformed(&error, before + nth);
                if !lenient {
                    return Err(problem);
                }
                sink(Err(Bad::new(problem.code, problem.detail)))?;
            }
        }
    }
    Ok(())
}

/// Hands on the items that `text` begins with as long as each is alone on its line; returns where
/// the rest begins. One parser reads them all: it has a buffer for texts with escapes, which
/// would else be made anew for each line.
fn each_alone<'a>(text: &'a str, sink: &mut Sink<'_, 'a>) -> Result<usize, Problem> {
    let mut items = Deserializer::from_str(text).into_iter();
    let mut taken = 0;
    while let Some(Ok(item)) = items.next() {
        let end = items.byte_offset();
        let start = end - text[taken..end].trim_ascii_start().len();
        let newline = memchr::memchr(b'\n', &text.as_bytes()[start..]);
        let newline = newline.map_or(text.len(), |at| start + at);
        if newline < end || !text[end..newline].trim_ascii().is_empty() {
            break;
        }
        sink(Ok(item))?;
        taken = text.len().min(newline + 1);
    }
    Ok(taken)
}

fn each_value<'a>(text: &'a str, sink: &mut Sink<'_, 'a>) -> Result<(), Problem> {
    for item in Deserializer::from_str(text).into_iter() {
        match item {
            Ok(item) => sink(Ok(item))?,
            Err(error) => return Err(malformed(&error, 0)),
        }
    }
    Ok(())
}

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

/// `before` is how many lines came before the text that was parsed.
fn malformed(error: &serde_json::Error, before: usize) -> Problem {
    let text = error.to_string();
    let what = text.split(" at line ").next().unwrap_or("wrong");
    Problem::malformed(what, before + error.line(), error.column())
}
