//! Checks the vocabulary: no banned word, no constant whose name lacks a subject, and the same terms
//! in the glossary and in the code.

use anyhow::{Context as _, bail};

use crate::run;

mod rules;
mod words;

use rules::{Banned, Glossary};

/// Old decisions, which keep the words of their time, and the list of renamed things.
const HISTORY: [&str; 2] = ["docs/adr/", "docs/upgrading.md"];
/// The lists of words contain the banned ones.
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

/// Every source file and document, without those of [`HISTORY`] and the lists of words.
fn sources() -> anyhow::Result<Vec<Source>> {
    let is_exempt = |path: &str| {
        let mut exempt = HISTORY.iter().chain([&LISTS]);
        exempt.any(|prefix| path.starts_with(prefix))
    };
    let files = run::sources(&["*.rs", "*.lua", "*.md", "*.yaml", "*.tpl"])?;
    let files = files.into_iter().filter(|(path, _)| !is_exempt(path));
    Ok(files.map(|(path, text)| Source { path, text }).collect())
}

fn is_code(path: &str) -> bool {
    let folders = ["crates/", "services/", "cli/", "proto/"];
    path.ends_with(".rs") && folders.iter().any(|folder| path.starts_with(folder))
}

/// Whether the file defines types that other packages use.
fn is_public(path: &str) -> bool {
    let crates = path.starts_with("crates/") && !path.starts_with("crates/testkit/");
    path.ends_with(".rs") && crates && !path.contains("/tests/")
}
