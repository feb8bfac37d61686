//! Where the cold tier lies: a folder that is made, or a bucket whose keys are there.

use std::{
    env, fs,
    io::ErrorKind,
    path::{self, Path, PathBuf},
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

/// In the data folder: where its cold tier lies. What has gone there is nowhere else.
pub(super) const KEPT: &str = "COLD";
/// The default, within the data folder, which may be moved.
const WITHIN: &str = "cold";

/// The cold tier of the data folder: that of its first start, whether it is given again or not.
pub(super) fn url(given: Option<String>, data: &Path) -> anyhow::Result<String> {
    let given = given.map(|cold| absolute(&cold)).transpose()?;
    let given = given.map(|cold| match Path::new(&cold) == data.join(WITHIN) {
        true => WITHIN.to_owned(),
        false => cold,
    });
    let file = data.join(KEPT);
    let kept = match fs::read_to_string(&file) {
        Ok(text) => Some(text.trim().to_owned()).filter(|text| !text.is_empty()),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => return Err(error).with_context(|| format!("read {}", file.display())),
    };
    let chosen = choose(kept.as_deref(), given, &file)?;
    if kept.is_none() {
        fs::write(&file, format!("{chosen}\n"))
            .with_context(|| format!("write {}", file.display()))?;
    }
    match chosen.as_str() {
        WITHIN => made(&data.join(WITHIN).to_string_lossy()),
        _ => made(&chosen),
    }
}

fn choose(kept: Option<&str>, given: Option<String>, file: &Path) -> Result<String, Usage> {
    match (kept, given) {
        (Some(kept), Some(given)) if kept != given => Err(Usage(format!(
            "--cold {given}: the cold tier of this data folder is {kept}, and what has gone there is nowhere \
             else; leave --cold out, or choose another --data (if the cold tier was moved, write its new place \
             into {})",
            file.display()
        ))),
        (Some(kept), _) => Ok(kept.to_owned()),
        (None, given) => Ok(given.unwrap_or_else(|| WITHIN.to_owned())),
    }
}

/// A folder that is not there yet is named as it will be; a URL stays as it is.
fn absolute(cold: &str) -> anyhow::Result<String> {
    if cold.contains("://") {
        return Ok(cold.to_owned());
    }
    let dir = path::absolute(cold).with_context(|| format!("--cold {cold}"))?;
    // As it will be called when it is there: whatever is there already has its real name.
    let there = dir.ancestors().find_map(|above| {
        let (real, rest) = (above.canonicalize().ok()?, dir.strip_prefix(above).ok()?);
        Some(real.join(rest).components().collect::<PathBuf>())
    });
    Ok(there.unwrap_or(dir).to_string_lossy().into_owned())
}

/// A folder is made and made absolute; a URL stays as it is.
fn made(cold: &str) -> anyhow::Result<String> {
    if cold.contains("://") {
        return Ok(cold.to_owned());
    }
    fs::create_dir_all(cold).with_context(|| format!("create the cold tier {cold}"))?;
    let dir = Path::new(cold).canonicalize()?;
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
    fn a_data_folder_keeps_its_cold_tier() {
        let dir = tempfile::TempDir::new().unwrap();
        let (data, moved) = (dir.path().join("data"), dir.path().join("moved"));
        let start = |cold: Option<&str>, data: &Path| url(cold.map(str::to_owned), data);
        fs::create_dir(&data).unwrap();
        assert_eq!(start(Some("s3://b/p"), &data).unwrap(), "s3://b/p");
        assert_eq!(start(Some("s3://b/p"), &data).unwrap(), "s3://b/p");
        assert_eq!(start(None, &data).unwrap(), "s3://b/p");
        let said = start(Some("s3://b/q"), &data).unwrap_err().to_string();
        assert!(said.contains("is s3://b/p,"), "{said}");

        fs::remove_file(data.join(KEPT)).unwrap();
        let within = start(None, &data).unwrap();
        assert!(within.ends_with("/data/cold"));
        assert_eq!(start(Some(&within), &data).unwrap(), within);
        fs::rename(&data, &moved).unwrap();
        assert!(start(None, &moved).unwrap().ends_with("/moved/cold"));
        start(Some("s3://b/p"), &moved).unwrap_err();
        let other = dir.path().join("other").to_string_lossy().into_owned();
        start(Some(&other), &moved).unwrap_err();
        assert!(!Path::new(&other).exists(), "a refused folder is not made");
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
