//! Globs: `*` matches any run of characters, `?` any one character, everything else itself.

/// Returns true if the whole of `text` matches `pattern`. Case-sensitive; linear in practice, never
/// recursive.
#[must_use]
pub fn glob_matches(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) =
        (pattern.chars().collect(), text.chars().collect());
    let (mut p, mut t) = (0, 0);
    // The index of the last `*`, and the index of the text up to which it has matched so far.
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(c) if *c == '?' || *c == text[t] => {
                p += 1;
                t += 1;
            }
            _ => match &mut star {
                Some((at, matched_to)) => {
                    *matched_to += 1;
                    p = *at + 1;
                    t = *matched_to;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::glob_matches;

    #[test]
    fn globs_match_whole_texts() {
        for (pattern, text, expected) in [
            ("error*", "error", true),
            ("error*", "error.tool", true),
            ("error*", "terror", false),
            ("output.*", "output.chunk", true),
            ("output.*", "output", false),
            ("*", "", true),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("*a*b*", "xxaxxbxx", true),
            ("*a*b", "ab_ab_a", false),
            ("", "", true),
            ("", "a", false),
        ] {
            assert_eq!(glob_matches(pattern, text), expected, "{pattern} on {text}");
        }
    }
}
