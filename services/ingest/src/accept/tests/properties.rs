use proptest::prelude::*;

use super::*;

fn any_json() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        Just("1e9".to_owned()),
        Just(r#""text""#.to_owned()),
        Just(r#""a\u0000""#.to_owned()),
        Just(r#""c""#.to_owned()),
    ];
    let name = prop_oneof![
        Just("event_id"),
        Just("conversation_id"),
        Just("type"),
        Just("timestamp"),
        Just("content"),
        Just("metadata"),
        Just("tenant"),
        Just("x"),
    ];
    leaf.prop_recursive(4, 32, 6, move |inner| {
        let member = (name.clone(), inner.clone()).prop_map(|(n, v)| format!("{n:?}:{v}"));
        let members = prop::collection::vec(member, 0..6);
        let elements = prop::collection::vec(inner, 0..6);
        prop_oneof![
            members.prop_map(|all| format!("{{{}}}", all.join(","))),
            elements.prop_map(|all| format!("[{}]", all.join(","))),
        ]
    })
}

/// A valid line, or one of many kinds of invalid ones.
fn any_line() -> impl Strategy<Value = String> {
    let good = (0..4_u8).prop_map(|n| event(&format!(r#","content":"{n}\\n""#)));
    let odd = [
        "", " \t\r", "\u{c}", "{}", "{} {}", "[", "null", "1", "1 2", "\"a\"", "[1,", "1]",
        "\r{}\r",
    ];
    let odd = prop::sample::select(odd.map(str::to_owned).to_vec());
    let halves = prop::sample::select(["{", "}"].map(str::to_owned).to_vec());
    prop_oneof![good, odd, halves]
}

/// The debug texts of the items of `text`, including bad ones.
fn items(text: &str) -> Vec<String> {
    let mut seen = Vec::new();
    let mut sink = |item: Result<item::Item<'_>, ItemError>| {
        seen.push(format!("{item:?}"));
        Ok(())
    };
    split::each_item(Format::Lines, true, text, &mut sink).unwrap();
    seen
}

proptest! {
    #[test]
    fn each_line_is_parsed_as_if_it_were_alone(lines in prop::collection::vec(any_line(), 0..8)) {
        // With as many lines before it, so that errors have the same line number.
        let alone = lines.iter().enumerate().flat_map(|(n, line)| items(&("\n".repeat(n) + line)));
        prop_assert_eq!(items(&lines.join("\n")), alone.collect::<Vec<_>>());
    }

    #[test]
    fn no_bytes_panic(body in prop::collection::vec(any::<u8>(), 0..200), partial: bool) {
        let mut context = context();
        context.partial = partial;
        for format in [Format::Json, Format::Lines, Format::Unknown] {
            context.format = format;
            let _ = accept(&context, &body);
        }
    }

    #[test]
    fn no_json_panics(body in any_json(), cut in 0..400_usize, partial: bool) {
        let mut context = context();
        context.partial = partial;
        for format in [Format::Json, Format::Lines, Format::Unknown] {
            context.format = format;
            let _ = accept(&context, body.as_bytes());
            let _ = accept(&context, &body.as_bytes()[..cut.min(body.len())]);
        }
    }

    #[test]
    fn any_content_is_stored_unchanged(content: String, name in "[a-z]{1,8}_x") {
        prop_assume!(!content.contains('\0'));
        let text = serde_json::to_string(&content).unwrap();
        let event = one(&event(&format!(r#","content":{text},"{name}":{text}"#)));
        prop_assert_eq!(event.content, content);
        prop_assert_eq!(event.metadata, format!(r#"{{"{name}":{text}}}"#));
    }
}
