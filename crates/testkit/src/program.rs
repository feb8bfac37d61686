//! Finds programs: the servers in `.tools/bin`, our own beside the test binary.

use std::{
    env,
    path::{Path, PathBuf},
};

/// Returns the path of a server that `cargo xtask setup` installs, or of one on the PATH.
///
/// # Panics
/// When it is in neither place.
#[must_use]
pub fn tool(name: &str) -> PathBuf {
    let installed = Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .map(|dir| dir.join(".tools/bin").join(name))
        .find(|path| path.is_file());
    installed.or_else(|| on_path(name)).unwrap_or_else(|| {
        panic!("{name} is neither in .tools/bin nor on the PATH: run cargo xtask setup")
    })
}

fn on_path(name: &str) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?)
        .map(|dir| dir.join(name))
        .find(|path| path.is_file())
}

/// Returns the path of one of our programs, as it was built last. In a package's own tests use
/// `env!("CARGO_BIN_EXE_<name>")` instead: cargo builds that one before the test.
///
/// # Panics
/// When it has not been built.
#[must_use]
pub fn program(name: &str) -> PathBuf {
    let test = env::current_exe().unwrap();
    let dir = test.parent().expect("a program lies in a directory");
    let dir = if dir.ends_with("deps") {
        dir.parent().expect("deps lies in the profile's directory")
    } else {
        dir
    };
    let path = dir.join(name);
    assert!(
        path.is_file(),
        "{} is missing: run cargo build -p {name}",
        path.display()
    );
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "run cargo xtask setup")]
    fn a_missing_tool_says_how_to_get_it() {
        let _ = tool("no-such-server");
    }

    #[test]
    #[should_panic(expected = "run cargo build -p no-such-service")]
    fn a_missing_program_says_how_to_build_it() {
        let _ = program("no-such-service");
    }
}
