//! Builds images by buildah, without a daemon and without a registry.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::run;

/// A folder for image layers, removed on drop.
#[derive(Debug)]
pub(crate) struct ImageStore {
    dir: PathBuf,
}

impl ImageStore {
    pub(crate) fn new(below: &Path) -> anyhow::Result<Self> {
        let dir = below.join("layers");
        fs::create_dir_all(&dir)?;
        Ok(Self { dir })
    }

    fn command(&self, verb: &str) -> Command {
        let mut command = Command::new("buildah");
        command
            .args(["--storage-driver", "vfs", "--root"])
            .arg(self.dir.join("root"))
            .arg("--runroot")
            .arg(self.dir.join("run"))
            .arg(verb)
            .env("BUILDAH_ISOLATION", "chroot");
        command
    }

    /// Builds `localhost/name:1`. All dates in it are 0, so that the same files give the same image.
    pub(crate) fn build(
        &self,
        recipe: &Path,
        context: &Path,
        name: &str,
        args: &[String],
    ) -> anyhow::Result<()> {
        let mut build = self.command("bud");
        build
            .args(["--quiet", "--timestamp", "0", "--file"])
            .arg(recipe);
        build
            .args(args)
            .args(["--tag", &reference(name)])
            .arg(context);
        run::output(build).map(drop)
    }

    /// Writes the image as an archive that every container runtime can load.
    pub(crate) fn save(&self, name: &str, archive: &Path) -> anyhow::Result<()> {
        if archive.exists() {
            fs::remove_file(archive)?;
        }
        let mut push = self.command("push");
        push.args(["--quiet", &reference(name)]);
        push.arg(format!(
            "docker-archive:{}:{}",
            archive.display(),
            reference(name)
        ));
        run::output(push).map(drop)
    }
}

impl Drop for ImageStore {
    fn drop(&mut self) {
        // Files left in a scratch folder are no reason to fail.
        let _ = fs::remove_dir_all(&self.dir);
    }
}

pub(crate) fn reference(name: &str) -> String {
    format!("localhost/{name}:1")
}
