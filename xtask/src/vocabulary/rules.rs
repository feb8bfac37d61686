//! The rules of the vocabulary. Pure: texts in, messages out.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context as _;

use super::words::{contains, words};

/// Banned words and phrases, each with its replacement.
pub(super) struct Banned(Vec<(Vec<String>, String)>);

impl Banned {
    /// One entry a line: `word = what to write`; `#` begins a comment.
    pub(super) fn parse(list: &str) -> anyhow::Result<Self> {
        let lines = list
            .lines()
            .filter(|line| !line.starts_with('#') && !line.is_empty());
        let entry = |line: &str| {
            let (word, instead) = line
                .split_once(" = ")
                .with_context(|| format!("no = in {line:?}"))?;
            Ok((words(word), instead.to_owned()))
        };
        Ok(Self(lines.map(entry).collect::<anyhow::Result<_>>()?))
    }

    pub(super) fn violations(&self, path: &str, text: &str) -> Vec<String> {
        let mut found = Vec::new();
        // Old names that stored files still have are read for ever.
        let lines = (1..)
            .zip(text.lines())
            .filter(|(_, line)| !line.contains("#[serde("));
        for (number, line) in lines {
            let line = words(line);
            for (phrase, instead) in &self.0 {
                if line.windows(phrase.len()).any(|window| window == phrase) {
                    let phrase = phrase.join(" ");
                    found.push(format!(
                        "{path}:{number}: {phrase:?} is banned: write {instead}"
                    ));
                }
            }
        }
        found
    }
}

/// Finds constants that are a number or a duration and have a name of one word, which lacks a subject.
pub(super) fn bare_constants(path: &str, text: &str) -> Vec<String> {
    const BARE: [&str; 9] = [
        "Duration", "u8", "u16", "u32", "u64", "usize", "i32", "i64", "f64",
    ];
    if !path.ends_with(".rs") {
        return Vec::new();
    }
    // Constants of tests are exempt: each test has one subject.
    let code = text
        .split("\n#[cfg(test)]\nmod tests {")
        .next()
        .unwrap_or(text);
    if path.contains("/tests/") || path.ends_with("tests.rs") {
        return Vec::new();
    }
    let bare = |line: &str| {
        let (_, constant) = line.split_once("const ")?;
        let (name, rest) = constant.split_once(':')?;
        let kind = rest.split('=').next()?.trim();
        let alone = name.chars().all(|letter| letter.is_ascii_uppercase());
        (alone && BARE.contains(&kind)).then(|| name.to_owned())
    };
    let lines = (1..).zip(code.lines());
    lines
        .filter_map(|(number, line)| Some((number, bare(line)?)))
        .map(|(number, name)| {
            format!("{path}:{number}: {name} does not say of what: READ_RETRY_PAUSE, not PAUSE")
        })
        .collect()
}

/// The terms that the glossary defines.
pub(super) struct Glossary(Vec<String>);

impl Glossary {
    /// The first column of the table; `a, b` and `a / b` are several terms.
    pub(super) fn parse(markdown: &str) -> Self {
        let rows = markdown.lines().filter_map(|line| line.strip_prefix("| "));
        let rows = rows.filter(|row| !row.starts_with("term |") && !row.starts_with("---"));
        let cells = rows.filter_map(|row| row.split(" |").next());
        let terms = cells.flat_map(|cell| cell.split([',', '/']));
        Self(
            terms
                .map(|term| term.replace('`', "").trim().to_owned())
                .collect(),
        )
    }

    /// Terms that do not occur in `code`.
    pub(super) fn unused(&self, code: &[&str]) -> Vec<String> {
        let code: Vec<_> = code.iter().map(|text| words(text)).collect();
        let is_used = |term: &str| code.iter().any(|text| contains(text, &words(term)));
        let unused = self.0.iter().filter(|term| !is_used(term));
        unused
            .map(|term| format!("docs/glossary.md defines {term:?}, which no code uses"))
            .collect()
    }

    /// Words in names of public types that are neither in the glossary nor in `ordinary`.
    pub(super) fn lacking(&self, code: &[&str], ordinary: &str) -> Vec<String> {
        let mut known: BTreeSet<String> = words(ordinary).into_iter().collect();
        known.extend(self.0.iter().flat_map(|term| words(term)));
        let is_known = |word: &str| {
            known.contains(word)
                || word
                    .strip_suffix('s')
                    .is_some_and(|one| known.contains(one))
        };
        let mut lacking = BTreeMap::new();
        for name in code.iter().flat_map(|text| public_types(text)) {
            for word in words(name) {
                if !is_known(&word) {
                    lacking.entry(word).or_insert(name);
                }
            }
        }
        let sentence = |(word, name)| {
            format!(
                "docs/glossary.md lacks {word:?} of {name}: define it, use a word that is there, or \
                 say in ordinary.txt that everybody knows it"
            )
        };
        lacking.into_iter().map(sentence).collect()
    }
}

/// The names of the public types that `text` defines.
fn public_types(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(|line| {
        let line = line.trim_start().strip_prefix("pub ")?;
        let (kind, rest) = line.split_once(' ')?;
        let name = rest
            .split(|letter: char| !letter.is_alphanumeric())
            .next()?;
        ["struct", "enum", "trait"].contains(&kind).then_some(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_banned_word_is_named_with_its_line_and_its_replacement() {
        let banned = Banned::parse("# why\nshelf = sealed partition\ngive way = throttle").unwrap();
        let text = "fn a() {}\nlet a = TheShelf::new(); // we give way";
        let expected = [
            "a.rs:2: \"shelf\" is banned: write sealed partition",
            "a.rs:2: \"give way\" is banned: write throttle",
        ];
        assert_eq!(banned.violations("a.rs", text), expected);
        assert!(banned.violations("a.rs", "shelfish").is_empty());
    }

    #[test]
    fn a_constant_says_of_what() {
        let text = "pub(crate) const PAUSE: Duration = X;\nconst READ_PAUSE: Duration = X;\nconst SQL: &str = X;";
        let found = bare_constants("a.rs", text);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with("a.rs:1: PAUSE does not say of what"));
        assert!(bare_constants("a/tests/it/a.rs", text).is_empty());
    }

    #[test]
    fn the_glossary_and_the_code_have_the_same_words() {
        let glossary =
            Glossary::parse("| term | meaning |\n|---|---|\n| seq, idx | x |\n| slice file | y |");
        let code = "pub struct SliceFile;\npub enum Seq {}\npub struct OpenHole;\nstruct Riddle;";
        assert_eq!(
            glossary.unused(&[code]),
            ["docs/glossary.md defines \"idx\", which no code uses"]
        );
        let lacking = glossary.lacking(&[code], "open");
        assert_eq!(lacking.len(), 1, "{lacking:?}");
        assert!(lacking[0].starts_with("docs/glossary.md lacks \"hole\" of OpenHole"));
    }
}
