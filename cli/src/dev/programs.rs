//! Where the programs are that `dev` starts.

use std::{
    env,
    path::{Path, PathBuf},
};

use anyhow::bail;

/// Our own services: beside this program, else on the PATH.
pub(crate) fn service(name: &str) -> anyhow::Result<PathBuf> {
    let beside = own_folder().map(|dir| dir.join(name));
    if let Some(path) = beside
        .filter(|path| path.is_file())
        .or_else(|| on_path(name))
    {
        return Ok(path);
    }
    bail!(
        "the program {name} is neither beside isotherm nor on the PATH: run `cargo xtask setup` and \
         `cargo build --bins`"
    )
}

/// A server of others: in `.tools/bin` of this folder or of one above it, or above this program,
/// else on the PATH. The first of `names` that is found.
pub(crate) fn server(names: &[&str]) -> anyhow::Result<PathBuf> {
    let roots = [env::current_dir().ok(), own_folder()];
    let installed = roots.iter().flatten().flat_map(|root| root.ancestors());
    let folders: Vec<PathBuf> = installed.map(|dir| dir.join(".tools/bin")).collect();
    let found = names.iter().find_map(|name| {
        let installed = folders
            .iter()
            .map(|dir| dir.join(name))
            .find(|path| path.is_file());
        installed.or_else(|| on_path(name))
    });
    match found {
        Some(path) => Ok(path),
        None => bail!(
            "{} is neither in .tools/bin nor on the PATH: run `cargo xtask setup` to install it",
            names.join(" or ")
        ),
    }
}

fn own_folder() -> Option<PathBuf> {
    let program = env::current_exe().ok()?;
    program.parent().map(Path::to_path_buf)
}

fn on_path(name: &str) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?)
        .map(|dir| dir.join(name))
        .find(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_server_says_how_to_get_it() {
        let error = server(&["no-such-server", "nor-this"]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "no-such-server or nor-this is neither in .tools/bin nor on the PATH: run `cargo xtask \
             setup` to install it"
        );
    }

    #[test]
    fn a_server_on_the_path_is_found() {
        assert!(server(&["no-such-server", "sh"]).unwrap().ends_with("sh"));
    }
}
