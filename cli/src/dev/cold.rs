//! Location of the cold tier: a folder, which is created, or a bucket, whose keys must be set.

use std::{
    env, fs,
    io::ErrorKind,
    path::{self, Path, PathBuf},
};

use anyhow::Context as _;

use crate::exit::Usage;

const KEY_VARIABLES: [&str; 2] = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"];
/// Variables of other ways to get credentials; any of them replaces the keys.
const OTHER_CREDENTIALS: [&str; 5] = [
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_METADATA_ENDPOINT",
    "AWS_SKIP_SIGNATURE",
];

/// Refuses a location that the services would refuse, before any of them is started.
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
    let missing: Vec<&str> = KEY_VARIABLES
        .into_iter()
        .filter(|name| !is_set(name))
        .collect();
    if missing.is_empty() || OTHER_CREDENTIALS.into_iter().any(is_set) {
        return None;
    }
    let is = if missing.len() == 1 { "is" } else { "are" };
    Some(format!(
        "--cold {cold}: {missing} {is} not set: export the keys of the bucket, or \
         AWS_METADATA_ENDPOINT=http://169.254.169.254 to use the role of a machine at Amazon",
        missing = missing.join(" and "),
    ))
}

/// File of the data folder that records the location of its cold tier. Archived events are stored only
/// there, so the location must not change.
pub(super) const COLD_URL_FILE: &str = "COLD";
/// The default: a folder within the data folder. It is recorded as a relative path, so that the data
/// folder may be moved.
const DEFAULT_FOLDER: &str = "cold";

/// Returns the location of the cold tier: that of the first start on this data folder.
pub(super) fn url(given: Option<String>, data: &Path) -> anyhow::Result<String> {
    let given = given.map(|cold| absolute(&cold)).transpose()?;
    let given = given.map(|cold| match Path::new(&cold) == data.join(DEFAULT_FOLDER) {
        true => DEFAULT_FOLDER.to_owned(),
        false => cold,
    });
    let file = data.join(COLD_URL_FILE);
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
        DEFAULT_FOLDER => create_folder(&data.join(DEFAULT_FOLDER).to_string_lossy()),
        _ => create_folder(&chosen),
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
        (None, given) => Ok(given.unwrap_or_else(|| DEFAULT_FOLDER.to_owned())),
    }
}

/// Makes a path absolute, even when it does not exist yet; returns a URL unchanged.
fn absolute(cold: &str) -> anyhow::Result<String> {
    if cold.contains("://") {
        return Ok(cold.to_owned());
    }
    let dir = path::absolute(cold).with_context(|| format!("--cold {cold}"))?;
    // The same path as after its creation: the part that exists is resolved, the rest is appended.
    let resolved = dir.ancestors().find_map(|above| {
        let (real, rest) = (above.canonicalize().ok()?, dir.strip_prefix(above).ok()?);
        Some(real.join(rest).components().collect::<PathBuf>())
    });
    Ok(resolved.unwrap_or(dir).to_string_lossy().into_owned())
}

/// Creates a folder and returns its absolute path; returns a URL unchanged.
fn create_folder(cold: &str) -> anyhow::Result<String> {
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
        assert_eq!(said(&KEY_VARIABLES), None);
        for way in OTHER_CREDENTIALS {
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

        fs::remove_file(data.join(COLD_URL_FILE)).unwrap();
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
    fn a_folder_needs_no_keys_and_other_schemes_are_refused() {
        for cold in ["cold", "/srv/cold", "file:///srv/cold"] {
            assert_eq!(refusal(cold, |_| false), None, "{cold}");
        }
        let said = refusal("ftp://x", |_| true).unwrap();
        assert!(said.contains("s3://bucket/prefix"), "{said}");
    }
}
