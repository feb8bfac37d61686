//! Search for the programs that `dev` starts.

use std::{
    env,
    ffi::OsString,
    path::{Path, PathBuf},
};

use anyhow::bail;

/// Finds one of our own services: beside this program, else on the PATH.
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

/// Finds a third-party server: in `.tools/bin` of this folder or of one above it, or above this
/// program, else on the PATH. Returns the first of `names` that is found.
pub(crate) fn server(names: &[&str]) -> anyhow::Result<PathBuf> {
    let folders: Vec<PathBuf> = tools().map(|tools| tools.join("bin")).collect();
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

/// Returns the `LD_LIBRARY_PATH` with which the services find the libraries in `.tools`, wherever their
/// programs are.
pub(crate) fn library_path() -> Option<OsString> {
    let ours = tools()
        .map(|tools| tools.join("duckdb"))
        .find(|dir| dir.is_dir())?;
    let inherited = env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
    let inherited = env::split_paths(&inherited).filter(|path| !path.as_os_str().is_empty());
    // It fails only for a path with a colon, and then the rpath may still find them.
    env::join_paths(inherited.chain([ours])).ok()
}

/// The candidates for `.tools`: of this folder, of this program's, and of those above them.
fn tools() -> impl Iterator<Item = PathBuf> {
    let roots = [env::current_dir().ok(), own_folder()]
        .into_iter()
        .flatten();
    roots.flat_map(|root| {
        let folders = root.ancestors().map(|dir| dir.join(".tools"));
        folders.collect::<Vec<_>>()
    })
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
