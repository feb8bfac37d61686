//! The query string of a request, parsed into validated values.

use std::str::FromStr;

use event::{PartitionId, Position, Seq};
use retention::glob_matches;
use url::form_urlencoded;

use crate::{
    error::{QueryError, Result},
    merge::ReadOrder,
};

/// Rows of a page when the client does not say.
pub(crate) const DEFAULT_LIMIT: usize = 1000;
/// Most rows of a page; no reason but to bound the memory of an answer.
pub(crate) const MAX_LIMIT: usize = 10_000;

/// The parameters of one request that no handler has read yet. Reading one removes it, and
/// [`Params::end`] refuses those that are left.
#[derive(Debug)]
pub(crate) struct Params(Vec<(String, String)>);

impl Params {
    pub(crate) fn parse(query: Option<&str>) -> Self {
        let pairs = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
        Self(pairs.into_owned().collect())
    }

    /// Removes and returns all values of `name`.
    fn all(&mut self, name: &str) -> Vec<String> {
        let removed = self.0.extract_if(.., |(key, _)| key == name);
        removed.map(|(_, value)| value).collect()
    }

    fn one(&mut self, name: &'static str) -> Result<Option<String>> {
        let mut values = self.all(name);
        if values.len() > 1 {
            let detail = format!("{name} is given {} times; give it once", values.len());
            return Err(QueryError::bad_request("invalid_parameter", detail));
        }
        // An empty form field sends `?after=`: it counts as not given.
        Ok(values.pop().filter(|value| !value.is_empty()))
    }

    /// Removes and parses an optional value.
    pub(crate) fn value<T>(&mut self, name: &'static str) -> Result<Option<T>>
    where
        T: FromStr,
        QueryError: From<T::Err>,
    {
        let text = self.one(name)?;
        Ok(text.map(|text| text.parse::<T>()).transpose()?)
    }

    /// Removes and parses an optional whole number from 1 to `max`.
    pub(crate) fn number(&mut self, name: &'static str, max: u64) -> Result<Option<u64>> {
        let Some(text) = self.one(name)? else {
            return Ok(None);
        };
        let number = text
            .parse()
            .ok()
            .filter(|number| (1..=max).contains(number));
        let refusal = || {
            let detail = format!("{name} is {text:?}; it must be a whole number from 1 to {max}");
            QueryError::bad_request("invalid_parameter", detail)
        };
        number.map(Some).ok_or_else(refusal)
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
            QueryError::bad_request("invalid_limit", detail)
        })
    }

    pub(crate) fn order(&mut self) -> Result<ReadOrder> {
        match self.one("order")?.as_deref() {
            None | Some("desc") => Ok(ReadOrder::Desc),
            Some("asc") => Ok(ReadOrder::Asc),
            Some(other) => {
                let detail = format!("order is {other:?}; it must be asc or desc");
                Err(QueryError::bad_request("invalid_order", detail))
            }
        }
    }

    /// Removes the event types: `type=a&type=b` or `type=a,b`, with `*` and `?` as wildcards.
    pub(crate) fn types(&mut self) -> TypeFilter {
        let values = self.all("type");
        let globs = values.iter().flat_map(|value| value.split(','));
        let globs = globs.filter(|glob| !glob.is_empty()).map(str::to_owned);
        TypeFilter(globs.collect())
    }

    pub(crate) fn text(&mut self, name: &'static str) -> Result<Option<String>> {
        self.one(name)
    }

    /// Refuses parameters that no handler has read: a misspelt filter must not be ignored.
    pub(crate) fn end(self) -> Result<()> {
        match self.0.first() {
            None => Ok(()),
            Some((name, _)) => {
                let detail =
                    format!("unknown parameter {name:?}; leave it out or correct its spelling");
                Err(QueryError::bad_request("unknown_parameter", detail))
            }
        }
    }
}

/// Returns the offset of `position`; an error when it is not in `partition`.
pub(crate) fn offset_in(partition: PartitionId, position: Position) -> Result<(Seq, u16)> {
    if position.partition == partition {
        return Ok(position.offset());
    }
    let detail = "the position is one of another conversation; take one of this";
    Err(QueryError::bad_request("invalid_position", detail))
}

/// Globs of event types; without any, all types match.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TypeFilter(Vec<String>);

impl TypeFilter {
    pub(crate) fn matches(&self, event_type: &str) -> bool {
        self.0.is_empty() || self.0.iter().any(|glob| glob_matches(glob, event_type))
    }

    pub(crate) fn is_all(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the types by name; `None` when one of them has a wildcard.
    pub(crate) fn exact(&self) -> Option<&[String]> {
        let has_wildcard = self.0.iter().any(|glob| glob.contains(['*', '?']));
        (!has_wildcard).then_some(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code<T: std::fmt::Debug>(result: Result<T>) -> &'static str {
        match result.unwrap_err() {
            QueryError::Refused { code, .. } | QueryError::Unavailable { code, .. } => code,
            QueryError::Internal(_) => "internal",
        }
    }

    #[test]
    fn valid_parameters_are_parsed_and_removed() {
        let mut params = Params::parse(Some("limit=5&order=asc&type=a,b.*&type=c"));
        assert_eq!(params.limit().unwrap(), 5);
        assert_eq!(params.order().unwrap(), ReadOrder::Asc);
        let types = params.types();
        assert!(types.matches("a") && types.matches("b.x") && types.matches("c"));
        assert!(!types.matches("d") && types.exact().is_none());
        params.end().unwrap();
        assert_eq!(Params::parse(None).limit().unwrap(), DEFAULT_LIMIT);
    }

    #[test]
    fn invalid_parameters_are_refused_with_a_code() {
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
