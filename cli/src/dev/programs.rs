//! Search for the programs that `dev` starts.

use std::{
    env,
    ffi::{OsStr, OsString},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};

/// Where programs are looked for. Never in the current folder, or relative to it: what lies there may be
/// anybody's.
#[derive(Debug)]
pub(crate) struct SearchPaths {
    /// The folder of this program.
    own: Option<PathBuf>,
    /// The folder with `bin` and `duckdb`.
    tools: Option<PathBuf>,
    path: Vec<PathBuf>,
}

impl SearchPaths {
    /// The paths of this process. `tools` is what the user names; without it, a program that was built in
    /// a checkout uses those of the checkout.
    pub(crate) fn new(tools: Option<PathBuf>) -> anyhow::Result<Self> {
        let program = env::current_exe().ok();
        let own = program.and_then(|path| path.parent().map(Path::to_path_buf));
        let tools = match tools {
            Some(tools) => Some(tools.canonicalize().with_context(|| {
                let tools = tools.display();
                format!("open {tools}, which --tools names")
            })?),
            None => own.as_deref().and_then(tools_of_checkout),
        };
        Ok(Self {
            own,
            tools,
            path: absolute(&env::var_os("PATH").unwrap_or_default()),
        })
    }

    /// Finds one of our own services: beside this program, else on the PATH.
    pub(crate) fn service(&self, name: &str) -> anyhow::Result<PathBuf> {
        let Some(found) = find(self.own.iter().chain(&self.path), name) else {
            bail!(
                "the program {name} is neither beside isotherm nor on the PATH: run `cargo xtask \
                 setup` and `cargo build --bins`"
            )
        };
        Ok(found)
    }

    /// Finds a third-party server: in `bin` of the tools, else on the PATH. Returns the first of `names`
    /// that is found.
    pub(crate) fn server(&self, names: &[&str]) -> anyhow::Result<PathBuf> {
        let bin = self.tools.as_ref().map(|tools| tools.join("bin"));
        let folders = || bin.iter().chain(&self.path);
        match names.iter().find_map(|name| find(folders(), name)) {
            Some(path) => Ok(path),
            None => bail!(
                "{} is not on the PATH: install it, name the folder above its `bin` with --tools, or \
                 run `cargo xtask setup` in a checkout",
                names.join(" or ")
            ),
        }
    }

    /// Returns the `LD_LIBRARY_PATH` with which the services find the libraries of the tools, wherever
    /// their programs are.
    pub(crate) fn library_path(&self) -> Option<OsString> {
        let ours = self.tools.as_ref()?.join("duckdb");
        let inherited = absolute(&env::var_os("LD_LIBRARY_PATH").unwrap_or_default());
        // It fails only for a path with a colon, and then the rpath may still find them.
        env::join_paths(inherited.into_iter().chain([ours])).ok()
    }
}

/// The `.tools` of the checkout in whose `target` the folder `own` is.
fn tools_of_checkout(own: &Path) -> Option<PathBuf> {
    let is_profile = own.ends_with("debug") || own.ends_with("release");
    let target = own.ancestors().find(|dir| dir.ends_with("target"))?;
    let tools = target.parent()?.join(".tools");
    (is_profile && tools.is_dir()).then_some(tools)
}

/// The absolute folders of a list like PATH.
fn absolute(list: &OsStr) -> Vec<PathBuf> {
    env::split_paths(list)
        .filter(|dir| dir.is_absolute())
        .collect()
}

fn find<'a>(folders: impl IntoIterator<Item = &'a PathBuf>, name: &str) -> Option<PathBuf> {
    let mut candidates = folders.into_iter().map(|dir| dir.join(name));
    candidates.find(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(own: &str, path: &str) -> SearchPaths {
        SearchPaths {
            own: Some(own.into()),
            tools: tools_of_checkout(Path::new(own)),
            path: absolute(OsStr::new(path)),
        }
    }

    #[test]
    fn a_missing_server_says_how_to_get_it() {
        let error = paths("/nowhere", "/bin").server(&["no-such-server", "nor-this"]);
        let said = error.unwrap_err().to_string();
        assert!(said.starts_with("no-such-server or nor-this is not on the PATH"));
        assert!(
            said.contains("--tools") && said.contains("cargo xtask setup"),
            "{said}"
        );
    }

    #[test]
    fn a_server_on_the_path_is_found_but_none_relative_to_the_current_folder() {
        let names = ["no-such-server", "sh"];
        assert_eq!(
            paths("/x", ".:/bin").server(&names).unwrap(),
            Path::new("/bin/sh")
        );
        // Tests run in the folder of the package.
        for path in ["", ".", "src/..", "src/../:"] {
            paths("/x", path).server(&["Cargo.toml"]).unwrap_err();
        }
    }

    #[test]
    fn only_a_program_in_the_target_of_a_checkout_uses_its_tools() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        std::fs::create_dir_all(root.join(".tools/bin")).unwrap();
        for (own, finds) in [
            ("target/debug", true),
            ("target/x86_64-unknown-linux-gnu/release", true),
            ("target/debug/deps", false),
            ("bin", false),
            ("debug", false),
            ("sub/target/debug", false),
            ("", false),
        ] {
            let found = tools_of_checkout(&root.join(own));
            assert_eq!(found.is_some(), finds, "{own}");
        }
    }
}
