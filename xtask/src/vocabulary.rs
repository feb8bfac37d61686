//! One vocabulary: no banned word, no constant that does not say of what, and a glossary that has
//! the words of the code and no others.

use anyhow::{Context as _, bail};

use crate::run;

mod rules;
mod words;

use rules::{Banned, Glossary};

/// Where the decisions of the past stand in the words of their time.
const HISTORY: &str = "docs/adr/";
/// The lists name the words that they ban.
const LISTS: &str = "xtask/src/vocabulary";
const GLOSSARY: &str = "docs/glossary.md";

/// A tracked text file.
struct Source {
    path: String,
    text: String,
}

pub(crate) fn run() -> anyhow::Result<()> {
    let sources = sources()?;
    let banned = Banned::parse(include_str!("vocabulary/banned.txt"))?;
    let mut found = Vec::new();
    for source in &sources {
        found.extend(banned.violations(&source.path, &source.text));
        found.extend(rules::bare_constants(&source.path, &source.text));
    }
    let glossary = sources.iter().find(|source| source.path == GLOSSARY);
    let glossary = glossary.with_context(|| format!("{GLOSSARY} is missing"))?;
    let glossary = Glossary::parse(&glossary.text);
    let ordinary = include_str!("vocabulary/ordinary.txt");
    let code = sources.iter().filter(|source| is_code(&source.path));
    let code: Vec<_> = code.map(|source| source.text.as_str()).collect();
    found.extend(glossary.unused(&code));
    let public = sources.iter().filter(|source| is_public(&source.path));
    let public: Vec<_> = public.map(|source| source.text.as_str()).collect();
    found.extend(glossary.lacking(&public, ordinary));
    if !found.is_empty() {
        bail!("the vocabulary is broken:\n{}", found.join("\n"));
    }
    Ok(())
}

/// Every tracked file that a person reads, but the decisions of the past and the lists of words.
fn sources() -> anyhow::Result<Vec<Source>> {
    let mut git = std::process::Command::new("git");
    git.args(["ls-files", "-z", "*.rs", "*.lua", "*.md", "*.yaml", "*.tpl"])
        .args(["--others", "--cached", "--exclude-standard"])
        .current_dir(run::root());
    let listed = run::output(git).context("list the files")?;
    let listed = String::from_utf8(listed).context("read the list of files")?;
    let read = |path: &str| {
        // A file that was deleted but not committed yet is no file.
        let text = std::fs::read_to_string(run::root().join(path)).ok()?;
        let path = path.to_owned();
        Some(Source { path, text })
    };
    let files = listed.split_terminator('\0');
    let files = files.filter(|path| !path.starts_with(HISTORY) && !path.starts_with(LISTS));
    Ok(files.filter_map(read).collect())
}

fn is_code(path: &str) -> bool {
    let ours = ["crates/", "services/", "cli/", "proto/"];
    path.ends_with(".rs") && ours.iter().any(|folder| path.starts_with(folder))
}

/// Where the types lie that other packages meet.
fn is_public(path: &str) -> bool {
    let crates = path.starts_with("crates/") && !path.starts_with("crates/testkit/");
    path.ends_with(".rs") && crates && !path.contains("/tests/")
}
