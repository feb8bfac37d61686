//! Finds modules of one crate that use each other in a circle, and imports by way of the crate's
//! root. Pure: sources in, messages out.

use std::collections::{BTreeMap, BTreeSet};

/// One source file of a crate.
#[derive(Debug)]
pub(super) struct Module {
    pub(super) krate: String,
    /// `read/attempt` for `src/read/attempt.rs`; empty for the root.
    pub(super) path: String,
    pub(super) text: String,
}

/// For each module of a folder: its siblings that it uses, itself or in a module below it.
type Arrows = BTreeMap<String, BTreeSet<String>>;

pub(super) fn violations(modules: &[Module]) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders: BTreeMap<(&str, String), Arrows> = BTreeMap::new();
    for module in modules.iter().filter(|module| !module.path.is_empty()) {
        for used in paths(module) {
            if used.starts_with(|letter: char| letter.is_ascii_uppercase()) {
                let (krate, path) = (&module.krate, &module.path);
                found.push(format!(
                    "{krate}: {path} takes {used} by way of the crate's root: name its module"
                ));
            }
            // The two siblings are the modules at which the two paths begin to differ.
            let own: Vec<_> = module.path.split('/').collect();
            let other: Vec<_> = used.split('/').collect();
            let same = own
                .iter()
                .zip(&other)
                .take_while(|(one, other)| one == other);
            let depth = same.count();
            if let (Some(from), Some(to)) = (own.get(depth), other.get(depth))
                && is_module(modules, &module.krate, &other[..=depth].join("/"))
            {
                let folder = (module.krate.as_str(), own[..depth].join("/"));
                let arrows = folders.entry(folder).or_default();
                arrows
                    .entry((*from).to_owned())
                    .or_default()
                    .insert((*to).to_owned());
            }
        }
    }
    for ((krate, folder), arrows) in &folders {
        let place = format!("{krate}/{folder}");
        let place = place.trim_end_matches('/');
        let circle = |from: &String| circle(arrows, from);
        let circles: BTreeSet<_> = arrows.keys().filter_map(circle).collect();
        found.extend(
            circles
                .iter()
                .map(|circle| format!("{place}: {circle} is a circle")),
        );
    }
    found
}

fn is_module(modules: &[Module], krate: &str, path: &str) -> bool {
    let is = |module: &Module| module.krate == krate && module.path == path;
    modules.iter().any(is)
}

/// The shortest circle through `start`, written from its alphabetically first module on.
fn circle(arrows: &Arrows, start: &String) -> Option<String> {
    let mut queue = std::collections::VecDeque::from([vec![start]]);
    let mut visited = BTreeSet::new();
    while let Some(chain) = queue.pop_front() {
        for to in arrows.get(*chain.last()?).into_iter().flatten() {
            if to == start {
                let least = (0..chain.len()).min_by_key(|index| chain[*index])?;
                let turned = chain[least..].iter().chain(&chain[..=least]);
                let names: Vec<&str> = turned.map(|name| name.as_str()).collect();
                return Some(names.join(" → "));
            }
            if visited.insert(to) {
                queue.push_back([chain.clone(), vec![to]].concat());
            }
        }
    }
    None
}

/// The paths in `module` that begin with `crate::` or `super::`, as `module/item`, with `use` trees
/// expanded.
fn paths(module: &Module) -> Vec<String> {
    let mut found = Vec::new();
    let code: String = module
        .text
        .lines()
        .map(|line| line.split("//").next().unwrap_or_default().trim())
        .collect::<Vec<_>>()
        .join(" ");
    for rest in code.split("crate::").skip(1) {
        found.extend(tree(&mut rest.chars().peekable(), ""));
    }
    if let Some((parent, _)) = module.path.rsplit_once('/') {
        for rest in code.split("super::").skip(1) {
            let below = tree(&mut rest.chars().peekable(), "");
            found.extend(below.iter().map(|path| format!("{parent}/{path}")));
        }
    }
    found
}

/// The paths of the `use` tree, or of the plain path, at the start of `text`.
fn tree(text: &mut std::iter::Peekable<std::str::Chars<'_>>, before: &str) -> Vec<String> {
    let mut path = before.to_owned();
    while let Some(letter) = text.peek().copied() {
        match letter {
            '{' => {
                text.next();
                while text.next_if_eq(&' ').is_some() {}
                let mut found = Vec::new();
                while text.peek().is_some_and(|letter| *letter != '}') {
                    found.extend(tree(text, &path));
                    while text.next_if(|letter| [',', ' '].contains(letter)).is_some() {}
                }
                text.next();
                return found;
            }
            ':' => {
                text.next();
                if text.next_if_eq(&':').is_none() {
                    break;
                }
                path.push('/');
            }
            letter if letter.is_alphanumeric() || letter == '_' => {
                path.push(letter);
                text.next();
            }
            _ => break,
        }
    }
    // Skips ` as name`.
    while text
        .next_if(|letter| ![',', '}', ';'].contains(letter))
        .is_some()
    {
        if before.is_empty() {
            break;
        }
    }
    vec![
        path.trim_end_matches('/')
            .trim_end_matches("/self")
            .to_owned(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn module(path: &str, text: &str) -> Module {
        Module {
            krate: "query".to_owned(),
            path: path.to_owned(),
            text: text.to_owned(),
        }
    }

    #[test]
    fn a_use_tree_is_expanded_into_paths() {
        let text = "use crate::{\n    a::{self, B as C}, // crate::no\n    d::e::F,\n};\nfn x() -> crate::g::H {}";
        assert_eq!(paths(&module("x", text)), ["a", "a/B", "d/e/F", "g/H"]);
        let below = "use super::{a::B, c};";
        assert_eq!(paths(&module("x/y", below)), ["x/a/B", "x/c"]);
    }

    #[test]
    fn two_modules_that_use_each_other_are_reported_once() {
        let modules = [
            module("plan", "use crate::{merge::Merge, text};"),
            module("merge/rows", "use crate::plan::Plan;"),
            module("merge", ""),
            module("text", ""),
        ];
        assert_eq!(
            violations(&modules),
            ["query: merge → plan → merge is a circle"]
        );
    }

    #[test]
    fn an_import_by_way_of_the_root_is_reported() {
        let modules = [
            module("plan", "use crate::{Error, text};"),
            module("text", ""),
        ];
        assert_eq!(
            violations(&modules),
            ["query: plan takes Error by way of the crate's root: name its module"]
        );
    }

    #[test]
    fn modules_that_use_each_other_in_one_direction_are_no_circle() {
        let modules = [
            module("http/sql", "use crate::{sql::run, http::reply};"),
            module("http/reply", "use crate::error::Problem;"),
            module("http", ""),
            module("sql", "use crate::error;"),
            module("error", ""),
        ];
        assert_eq!(violations(&modules), Vec::<String>::new());
    }
}
