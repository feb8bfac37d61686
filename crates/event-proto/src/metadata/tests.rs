use super::{MAX_METADATA_DEPTH, MetadataError, check, check_new};

#[test]
fn what_not_every_reader_takes_is_refused_when_it_is_new_and_stays_when_it_is_stored() {
    let surrogate = |text: &str| MetadataError::LoneSurrogate(text.to_owned());
    let number = |text: &str| MetadataError::NumberTooLarge(text.to_owned());
    let digits = "9".repeat(400);
    for (json, error) in [
        (r#"{"a":"\ud83d"}"#.to_owned(), surrogate(r"\ud83d")),
        (r#"{"a":"\ude00\ud83d"}"#.to_owned(), surrogate(r"\ude00")),
        (r#"{"a":"\ud83d\u0041"}"#.to_owned(), surrogate(r"\ud83d")),
        (r#"{"a":[-1.5E+309]}"#.to_owned(), number("-1.5E+309")),
        (format!(r#"{{"a":{digits}}}"#), number(&digits[..32])),
    ] {
        assert_eq!(check(&json), Ok(()), "{json}");
        assert_eq!(check_new(&json), Err(error), "{json}");
    }
}

#[test]
fn both_checks_refuse_what_no_reader_of_ours_takes_and_take_the_rest() {
    let nested = |levels: usize| format!("{}1{}", r#"{"a":"#.repeat(levels), "}".repeat(levels));
    for (json, expected) in [
        (nested(MAX_METADATA_DEPTH), Ok(())),
        (nested(MAX_METADATA_DEPTH + 1), Err(MetadataError::TooDeep)),
        (r#"{"a":"\u0000"}"#.to_owned(), Err(MetadataError::Nul)),
        (r#"{"a":"\\u0000"}"#.to_owned(), Ok(())),
        (r#"{"a":"\ud83d\ude00 \"[[{ 1e999"}"#.to_owned(), Ok(())),
        (r#"{"1e999":1e308}"#.to_owned(), Ok(())),
    ] {
        assert_eq!(check(&json), expected, "{json}");
        assert_eq!(check_new(&json), expected, "{json}");
    }
}
