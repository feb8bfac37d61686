//! Checks that a table belongs to the store of this process. Pure.

use crate::{
    error::{Error, Result},
    replay::TableState,
};

/// Checks that the table in `state`, at `address`, is that of the store `own`, or of none.
pub(crate) fn check(state: &TableState, own: Option<&str>, address: &str) -> Result<()> {
    match (&state.store, own) {
        (Some(found), Some(own)) if found != own => Err(Error::OtherStore {
            address: address.to_owned(),
            found: found.clone(),
            own: own.to_owned(),
        }),
        _ => Ok(()),
    }
}
