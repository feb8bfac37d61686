//! Splits texts and identifiers into lower-case words.

/// The words of `text`: runs of letters, split at the capitals of an identifier.
pub(super) fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    for run in text.split(|letter: char| !letter.is_alphabetic()) {
        let mut word = String::new();
        let letters: Vec<char> = run.chars().collect();
        for (index, letter) in letters.iter().enumerate() {
            let before = index.checked_sub(1).map(|before| letters[before]);
            let next = letters.get(index + 1);
            let starts = letter.is_uppercase()
                && (before.is_some_and(char::is_lowercase)
                    || before.is_some() && next.is_some_and(|next| next.is_lowercase()));
            if starts {
                words.push(std::mem::take(&mut word));
            }
            word.extend(letter.to_lowercase());
        }
        words.push(word);
    }
    words.retain(|word| !word.is_empty());
    words
}

/// Whether the words of `phrase` occur in `words` in sequence; singular and plural are equal.
pub(super) fn contains(words: &[String], phrase: &[String]) -> bool {
    let singular = |word: &str| word.strip_suffix('s').unwrap_or(word).to_owned();
    let phrase: Vec<String> = phrase.iter().map(|word| singular(word)).collect();
    words.windows(phrase.len().max(1)).any(|window| {
        window
            .iter()
            .map(|word| singular(word))
            .eq(phrase.iter().cloned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_and_sentences_become_words() {
        let text = "let SliceFile = open_segment(&HTTPServer); // A slice's file.";
        let expected = "let slice file open segment http server a slice s file";
        assert_eq!(words(text).join(" "), expected);
    }

    #[test]
    fn a_phrase_is_found_in_singular_and_plural() {
        let text = words("RetentionClass of DeadLetters");
        assert!(contains(&text, &words("dead letter")));
        assert!(contains(&text, &words("retention class")));
        assert!(!contains(&text, &words("letter dead")));
    }
}
