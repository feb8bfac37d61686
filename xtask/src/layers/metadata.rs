//! The part of `cargo metadata` that the layers check reads.

use anyhow::{Context as _, ensure};
use serde_json::Value;

#[derive(Debug, Default)]
pub(super) struct Metadata {
    /// The packages of the workspace.
    pub(super) members: Vec<Member>,
    /// The names of all packages that are linked somewhere, with those of others.
    pub(super) linked: Vec<String>,
}

#[derive(Debug)]
pub(super) struct Member {
    pub(super) name: String,
    /// Its top-level folder: `crates`, `services`, `cli` and so on.
    pub(super) folder: String,
    pub(super) dependencies: Vec<Dependency>,
}

#[derive(Debug)]
pub(super) struct Dependency {
    pub(super) name: String,
    /// Whether it is a dev-dependency.
    pub(super) dev: bool,
}

impl Metadata {
    pub(super) fn parse(json: &[u8]) -> anyhow::Result<Self> {
        let json: Value = serde_json::from_slice(json)?;
        let root = text(&json, "workspace_root")?;
        let members = list(&json, "workspace_members")?;
        let mut metadata = Self::default();
        for package in list(&json, "packages")? {
            metadata.linked.push(text(package, "name")?.to_owned());
            if members.contains(&package["id"]) {
                metadata.members.push(member(package, root)?);
            }
        }
        ensure!(!metadata.members.is_empty(), "the workspace has no member");
        Ok(metadata)
    }
}

fn member(package: &Value, root: &str) -> anyhow::Result<Member> {
    let manifest = text(package, "manifest_path")?;
    let folder = manifest
        .strip_prefix(root)
        .and_then(|path| path.trim_start_matches('/').split('/').next())
        .with_context(|| format!("{manifest} is not below {root}"))?;
    let dependencies = list(package, "dependencies")?
        .iter()
        .map(|dependency| {
            Ok(Dependency {
                name: text(dependency, "name")?.to_owned(),
                dev: dependency["kind"] == "dev",
            })
        })
        .collect::<anyhow::Result<_>>()?;
    Ok(Member {
        name: text(package, "name")?.to_owned(),
        folder: folder.to_owned(),
        dependencies,
    })
}

fn text<'a>(value: &'a Value, key: &str) -> anyhow::Result<&'a str> {
    value[key].as_str().with_context(|| format!("no {key}"))
}

fn list<'a>(value: &'a Value, key: &str) -> anyhow::Result<&'a Vec<Value>> {
    value[key].as_array().with_context(|| format!("no {key}"))
}
