//! The cgroup of a cluster, in every hierarchy of this machine.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context as _;

const CGROUP_ROOT: &str = "/sys/fs/cgroup";

pub(super) fn create(name: &str) -> anyhow::Result<()> {
    for hierarchy in hierarchies() {
        let dir = below(&hierarchy, name);
        fs::create_dir_all(&dir).with_context(|| format!("make {}", dir.display()))?;
        if hierarchy.join("cgroup.controllers").exists() {
            delegate(&hierarchy);
            delegate(&dir);
        }
    }
    Ok(())
}

/// Enables every controller for the child cgroups; those that cannot be enabled are not needed.
fn delegate(dir: &Path) {
    let controllers = fs::read_to_string(dir.join("cgroup.controllers")).unwrap_or_default();
    for controller in controllers.split_whitespace() {
        let _ = fs::write(dir.join("cgroup.subtree_control"), format!("+{controller}"));
    }
}

/// Removes the cgroup. It is empty by now: one that cannot be removed does no harm.
pub(super) fn remove(name: &str) {
    for hierarchy in hierarchies() {
        remove_tree(&below(&hierarchy, name));
    }
}

/// Removes folders only: the files of a cgroup disappear with it.
fn remove_tree(dir: &Path) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_tree(&entry.path());
        }
    }
    let _ = fs::remove_dir(dir);
}

fn below(hierarchy: &Path, name: &str) -> PathBuf {
    hierarchy.join(name.trim_start_matches('/'))
}

/// One hierarchy with cgroup version 2, one for each controller with version 1.
fn hierarchies() -> Vec<PathBuf> {
    let root = PathBuf::from(CGROUP_ROOT);
    if root.join("cgroup.procs").exists() {
        return vec![root];
    }
    let entries = fs::read_dir(&root).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.path())
        .filter(|path| path.join("cgroup.procs").exists())
        .collect()
}
