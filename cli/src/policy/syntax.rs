//! Improves messages of the YAML parser: names the field, its value, and a valid example. Pure.

/// Returns `message`, an error in parsing `text`, with the field, its value and a valid example, where
/// the parser says only what it expected and where. Other messages are returned unchanged.
pub(super) fn explained(message: &str, text: &str) -> String {
    let explained = || {
        let (expected, place) = message.split_once(" at line ")?;
        let (line, column) = place.split_once(", column ")?;
        let number: usize = line.parse().ok()?;
        let source = text.lines().nth(number.checked_sub(1)?)?;
        let (field, value) = field_at(source, column.parse().ok()?)?;
        let advice = advice(expected, field, value)?;
        Some(format!("line {number}: {field} is {value}: {advice}"))
    };
    explained().unwrap_or_else(|| message.to_owned())
}

/// Returns the field whose value begins at `column`, which counts from 1, and the value.
fn field_at(line: &str, column: usize) -> Option<(&str, &str)> {
    let (start, _) = line.char_indices().nth(column.checked_sub(1)?)?;
    let (before, after) = line.split_at(start);
    let before = before.trim_end().strip_suffix(':')?;
    let is_name = |c: char| c.is_ascii_alphanumeric();
    let field = before.trim_end_matches('"');
    let field = field.rsplit(|c| !is_name(c)).next()?;
    let nested = after.starts_with(['[', '{']);
    let end = match nested {
        true => after.find([']', '}']).map(|end| end + 1),
        false => after.find([',', '}', ']', '#']),
    };
    let value = after[..end.unwrap_or(after.len())].trim();
    (!field.is_empty() && !value.is_empty()).then_some((field, value))
}

fn advice(expected: &str, field: &str, value: &str) -> Option<String> {
    let advice = match expected {
        "invalid i32" | "invalid i64" => {
            format!("write a whole number, for example {field}: 10")
        }
        _ if expected.starts_with("invalid YAML 1.1 bool") => {
            format!("write true or false, for example {field}: true")
        }
        "unexpected event: expected sequence start" => {
            format!("write a list, for example {field}: [{value}]")
        }
        "unexpected event: expected string scalar" => {
            let example = match field {
                "maxAge" | "deletionGracePeriod" | "decayUnit" => "7d",
                _ => "\"text\"",
            };
            format!("write one text, for example {field}: {example}")
        }
        "unexpected event: expected mapping start" => {
            let example = match field {
                "hot" | "warm" | "cold" => "{maxAge: 7d}",
                "tiers" => "{hot: {maxAge: 1h}}",
                "selector" => "{conversations: [case-*]}",
                "metadata" => "{name: short}",
                _ => "{environment: prod}",
            };
            format!("write fields of its own, for example {field}: {example}")
        }
        _ => return None,
    };
    Some(advice)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "apiVersion: isotherm.dev/v1alpha1\nkind: RetentionPolicy\n\
                        metadata: {name: a}\n";

    fn said(yaml: &str) -> String {
        let text = HEAD.to_owned() + yaml;
        let error = k8s_api::parse(&text).unwrap_err();
        explained(&error.to_string(), &text)
    }

    #[test]
    fn a_value_of_the_wrong_kind_is_reported_with_its_field_and_an_example() {
        for (yaml, sentence) in [
            (
                "spec: {priority: high, tiers: {hot: {maxAge: 1h}}}",
                "line 4: priority is high: write a whole number, for example priority: 10",
            ),
            (
                "spec:\n  priority: 99999999999 # first",
                "line 5: priority is 99999999999: write a whole number, for example priority: 10",
            ),
            (
                "spec: {tiers: {cold: {disabled: maybe}}}",
                "line 4: disabled is maybe: write true or false, for example disabled: true",
            ),
            (
                "spec: {selector: {conversations: case}}",
                "line 4: conversations is case: write a list, for example conversations: [case]",
            ),
            (
                "spec: {tiers: {hot: {maxAge: [1h]}}}",
                "line 4: maxAge is [1h]: write one text, for example maxAge: 7d",
            ),
            (
                "spec: {tiers: {hot: 1h}}",
                "line 4: hot is 1h: write fields of its own, for example hot: {maxAge: 7d}",
            ),
            (
                r#""spec": {"priority":"high"}"#,
                r#"line 4: priority is "high": write a whole number, for example priority: 10"#,
            ),
        ] {
            assert_eq!(said(yaml), sentence);
        }
    }

    #[test]
    fn every_other_message_of_the_parser_is_unchanged() {
        assert!(said("spec: {tiers: {hot: {maxAge: 1h}").contains("did not find expected"));
        assert!(said("spec: {tiers: {hott: {}}}").contains("unknown field `hott`"));
        assert_eq!(
            explained("invalid i32 at line 9, column 1", "a: b"),
            "invalid i32 at line 9, column 1"
        );
        assert_eq!(
            explained("invalid i32 at line 1, column 1", "a: b"),
            "invalid i32 at line 1, column 1"
        );
    }
}
