//! The environment of the scenarios, as `cargo xtask e2e` sets it.

use std::{env, path::PathBuf};

/// The cluster and the image under test.
#[derive(Debug)]
pub(crate) struct Setting {
    /// The image without its tag.
    pub(crate) repository: String,
    pub(crate) tag: String,
    /// The images of NATS, Valkey and SeaweedFS were loaded into the cluster beforehand.
    pub(crate) local_servers: bool,
    /// Namespaces are kept at the end of a scenario.
    pub(crate) keep: bool,
    /// The root of the repository.
    pub(crate) root: PathBuf,
    /// The audit log of the API server, where it can be read.
    pub(crate) audit_log: Option<PathBuf>,
    /// The only volume of class `small`: the id of a process in its mount namespace, and the
    /// folder.
    pub(crate) small_volume: Option<(String, String)>,
}

#[allow(
    clippy::disallowed_methods,
    reason = "a test has no command line of its own"
)]
pub(crate) fn setting() -> Setting {
    let variable = |name: &str| env::var(name).ok();
    let image = variable("ISOTHERM_E2E_IMAGE").expect("run it by `cargo xtask e2e`");
    let (repository, tag) = image.rsplit_once(':').expect("an image has a tag");
    Setting {
        repository: repository.to_owned(),
        tag: tag.to_owned(),
        local_servers: variable("ISOTHERM_E2E_LOCAL_SERVERS").is_some(),
        keep: variable("ISOTHERM_E2E_KEEP").is_some(),
        root: variable("ISOTHERM_E2E_ROOT").unwrap().into(),
        audit_log: variable("ISOTHERM_E2E_AUDIT_LOG").map(PathBuf::from),
        small_volume: variable("ISOTHERM_E2E_SMALL_VOLUME").map(|volume| {
            let (process, folder) = volume.split_once(':').expect("a process and a folder");
            (process.to_owned(), folder.to_owned())
        }),
    }
}
