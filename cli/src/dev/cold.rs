//! Where the cold tier lies: a folder that is made, or a bucket whose keys are there.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use anyhow::Context as _;

use crate::exit::Usage;

const KEYS: [&str; 2] = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"];
/// Any of them says where the services get keys instead.
const OTHER_WAYS: [&str; 5] = [
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_METADATA_ENDPOINT",
    "AWS_SKIP_SIGNATURE",
];

/// Refuses what the services would refuse, before any of them is started.
pub(super) fn check(cold: Option<&str>) -> Result<(), Usage> {
    let is_set = |name: &str| env::var_os(name).is_some_and(|value| !value.is_empty());
    match cold.and_then(|url| refusal(url, is_set)) {
        Some(sentence) => Err(Usage(sentence)),
        None => Ok(()),
    }
}

fn refusal(cold: &str, is_set: impl Fn(&str) -> bool) -> Option<String> {
    let (scheme, _) = cold.split_once("://")?;
    if scheme == "file" {
        return None;
    }
    if scheme != "s3" {
        return Some(format!(
            "--cold {cold}: the cold tier lies in a folder or at s3://bucket/prefix"
        ));
    }
    let missing: Vec<&str> = KEYS.into_iter().filter(|name| !is_set(name)).collect();
    if missing.is_empty() || OTHER_WAYS.into_iter().any(is_set) {
        return None;
    }
    let is = if missing.len() == 1 { "is" } else { "are" };
    Some(format!(
        "--cold {cold}: {missing} {is} not set: export the keys of the bucket, or \
         AWS_METADATA_ENDPOINT=http://169.254.169.254 to use the role of a machine at Amazon",
        missing = missing.join(" and "),
    ))
}

/// A folder is made and made absolute; a URL stays as it is.
pub(super) fn url(cold: Option<String>, data: &Path) -> anyhow::Result<String> {
    let dir = match cold {
        Some(url) if url.contains("://") => return Ok(url),
        Some(dir) => PathBuf::from(dir),
        None => data.join("cold"),
    };
    fs::create_dir_all(&dir).with_context(|| format!("create the cold tier {}", dir.display()))?;
    let dir = dir.canonicalize()?;
    Ok(dir.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_without_keys_is_refused_with_those_that_are_missing() {
        let said = |set: &[&str]| refusal("s3://b/p", |name| set.contains(&name));
        let none = said(&[]).unwrap();
        assert!(
            none.contains("AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are not set"),
            "{none}"
        );
        let half = said(&["AWS_ACCESS_KEY_ID"]).unwrap();
        assert!(
            half.contains(": AWS_SECRET_ACCESS_KEY is not set"),
            "{half}"
        );
        assert_eq!(said(&KEYS), None);
        for way in OTHER_WAYS {
            assert_eq!(said(&[way]), None, "{way}");
        }
    }

    #[test]
    fn a_folder_needs_no_keys_and_other_addresses_are_none() {
        for cold in ["cold", "/srv/cold", "file:///srv/cold"] {
            assert_eq!(refusal(cold, |_| false), None, "{cold}");
        }
        let said = refusal("ftp://x", |_| true).unwrap();
        assert!(said.contains("s3://bucket/prefix"), "{said}");
    }
}
