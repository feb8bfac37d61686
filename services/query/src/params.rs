//! The query string of a request, parsed into values that cannot be wrong.

use std::str::FromStr;

use event::{PartitionId, Position, Seq};
use retention::glob_matches;
use url::form_urlencoded;

use crate::{
    error::{Problem, Result},
    merge::Order,
};

pub(crate) const DEFAULT_LIMIT: usize = 1000;
pub(crate) const MAX_LIMIT: usize = 10_000;

/// The parameters of one request. Every one must be taken before [`Params::end`].
#[derive(Debug)]
pub(crate) struct Params(Vec<(String, String)>);

impl Params {
    pub(crate) fn parse(query: Option<&str>) -> Self {
        let pairs = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
        Self(pairs.into_owned().collect())
    }

    /// All values of `name`.
    fn all(&mut self, name: &str) -> Vec<String> {
        let taken = self.0.extract_if(.., |(key, _)| key == name);
        taken.map(|(_, value)| value).collect()
    }

    fn one(&mut self, name: &'static str) -> Result<Option<String>> {
        let mut values = self.all(name);
        if values.len() > 1 {
            let detail = format!("{name} is given {} times; give it once", values.len());
            return Err(Problem::bad_request("invalid_parameter", detail));
        }
        // `?after=` is what an empty form field sends: nothing.
        Ok(values.pop().filter(|value| !value.is_empty()))
    }

    pub(crate) fn value<T>(&mut self, name: &'static str) -> Result<Option<T>>
    where
        T: FromStr,
        Problem: From<T::Err>,
    {
        let text = self.one(name)?;
        Ok(text.map(|text| text.parse::<T>()).transpose()?)
    }

    /// A number that need not be there.
    pub(crate) fn number(&mut self, name: &'static str, max: u64) -> Result<Option<u64>> {
        let Some(text) = self.one(name)? else {
            return Ok(None);
        };
        let number = text
            .parse()
            .ok()
            .filter(|number| (1..=max).contains(number));
        let refuse = || {
            let detail = format!("{name} is {text:?}; it must be a whole number from 1 to {max}");
            Problem::bad_request("invalid_parameter", detail)
        };
        number.map(Some).ok_or_else(refuse)
    }

    pub(crate) fn limit(&mut self) -> Result<usize> {
        let Some(text) = self.one("limit")? else {
            return Ok(DEFAULT_LIMIT);
        };
        let limit = text
            .parse()
            .ok()
            .filter(|limit| (1..=MAX_LIMIT).contains(limit));
        limit.ok_or_else(|| {
            let detail =
                format!("limit is {text:?}; it must be a whole number from 1 to {MAX_LIMIT}");
            Problem::bad_request("invalid_limit", detail)
        })
    }

    pub(crate) fn order(&mut self) -> Result<Order> {
        match self.one("order")?.as_deref() {
            None | Some("desc") => Ok(Order::Desc),
            Some("asc") => Ok(Order::Asc),
            Some(other) => {
                let detail = format!("order is {other:?}; it must be asc or desc");
                Err(Problem::bad_request("invalid_order", detail))
            }
        }
    }

    /// `type=a&type=b` or `type=a,b`; with `*` and `?` as wildcards.
    pub(crate) fn types(&mut self) -> Types {
        let values = self.all("type");
        let globs = values.iter().flat_map(|value| value.split(','));
        let globs = globs.filter(|glob| !glob.is_empty()).map(str::to_owned);
        Types(globs.collect())
    }

    pub(crate) fn text(&mut self, name: &'static str) -> Result<Option<String>> {
        self.one(name)
    }

    /// Refuses what nobody asked for: a misspelt filter must not be an ignored filter.
    pub(crate) fn end(self) -> Result<()> {
        match self.0.first() {
            None => Ok(()),
            Some((name, _)) => {
                let detail = format!(
                    "there is no parameter {name:?} here; leave it out, or look how it is spelt"
                );
                Err(Problem::bad_request("unknown_parameter", detail))
            }
        }
    }
}

/// The place of `position` in `partition`; an error when it is a place elsewhere.
pub(crate) fn offset_in(partition: PartitionId, position: Position) -> Result<(Seq, u16)> {
    if position.partition == partition {
        return Ok(position.offset());
    }
    let detail = "the position is one of another conversation; take one of this";
    Err(Problem::bad_request("invalid_position", detail))
}

/// Globs of event types; none is every type.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Types(Vec<String>);

impl Types {
    pub(crate) fn matches(&self, event_type: &str) -> bool {
        self.0.is_empty() || self.0.iter().any(|glob| glob_matches(glob, event_type))
    }

    pub(crate) fn is_all(&self) -> bool {
        self.0.is_empty()
    }

    /// The types by name, when no wildcard is among them.
    pub(crate) fn exact(&self) -> Option<&[String]> {
        let wild = self.0.iter().any(|glob| glob.contains(['*', '?']));
        (!wild).then_some(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code<T: std::fmt::Debug>(result: Result<T>) -> &'static str {
        match result.unwrap_err() {
            Problem::Refused { code, .. } | Problem::Unavailable { code, .. } => code,
            Problem::Internal(_) => "internal",
        }
    }

    #[test]
    fn good_parameters_are_taken_once_each() {
        let mut params = Params::parse(Some("limit=5&order=asc&type=a,b.*&type=c"));
        assert_eq!(params.limit().unwrap(), 5);
        assert_eq!(params.order().unwrap(), Order::Asc);
        let types = params.types();
        assert!(types.matches("a") && types.matches("b.x") && types.matches("c"));
        assert!(!types.matches("d") && types.exact().is_none());
        params.end().unwrap();
        assert_eq!(Params::parse(None).limit().unwrap(), DEFAULT_LIMIT);
    }

    #[test]
    fn bad_parameters_are_refused_with_a_code() {
        for limit in ["0", "-1", "10001", "x", "1.5", "99999999999999999999"] {
            let mut params = Params::parse(Some(&format!("limit={limit}")));
            assert_eq!(code(params.limit()), "invalid_limit", "{limit}");
        }
        assert_eq!(
            code(Params::parse(Some("order=up")).order()),
            "invalid_order"
        );
        assert_eq!(
            code(Params::parse(Some("limt=1")).end()),
            "unknown_parameter"
        );
        assert_eq!(
            code(Params::parse(Some("limit=1&limit=2")).limit()),
            "invalid_parameter"
        );
        let mut params = Params::parse(Some("after=1"));
        assert_eq!(code(params.value::<Position>("after")), "invalid_position");
    }
}
