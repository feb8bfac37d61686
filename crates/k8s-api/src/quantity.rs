//! Parsing of ages such as `7d` and sizes such as `200Gi`.

use crate::retention_policy::Bytes;

/// The message for a text that is not an age, pattern `^[1-9][0-9]{0,4}(s|m|h|d)$`.
pub(crate) const AGE_HINT: &str =
    "write a whole number from 1 to 99999 and one of the units s, m, h, d, for example 7d";

/// Parses an age of at most `digits` digits to milliseconds; `None` if `text` is not one.
pub(crate) fn age_ms(text: &str, digits: usize) -> Option<u64> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let unit_ms: u64 = match unit {
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    let plain = (1..=digits).contains(&number.len())
        && number.bytes().all(|byte| byte.is_ascii_digit())
        && !number.starts_with('0');
    if !plain {
        return None;
    }
    number.parse::<u64>().ok()?.checked_mul(unit_ms)
}

/// Parses a size to bytes, at least 1: a whole number or a text of the pattern
/// `^([1-9][0-9]{0,14}(\.[0-9]{1,3})?|0\.[0-9]{0,2}[1-9])(k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)?$`. `None` if it is neither.
pub(crate) fn bytes(bytes: &Bytes) -> Option<u64> {
    match bytes {
        Bytes::Number(number) => u64::try_from(*number).ok().filter(|number| *number > 0),
        Bytes::Text(text) => text_bytes(text),
    }
}

fn text_bytes(text: &str) -> Option<u64> {
    let end = text.find(|c: char| c != '.' && !c.is_ascii_digit());
    let (number, unit) = text.split_at(end.unwrap_or(text.len()));
    let factor: u64 = match unit {
        "" => 1,
        "k" => 1_000,
        "M" => 1_000_000,
        "G" => 1_000_000_000,
        "T" => 1_000_000_000_000,
        "P" => 1_000_000_000_000_000,
        "Ki" => 1 << 10,
        "Mi" => 1 << 20,
        "Gi" => 1 << 30,
        "Ti" => 1 << 40,
        "Pi" => 1 << 50,
        _ => return None,
    };
    let (whole, fraction) = match number.split_once('.') {
        Some((whole, fraction)) if (1..=3).contains(&fraction.len()) => (whole, fraction),
        Some(_) => return None,
        None => (number, ""),
    };
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if !(1..=15).contains(&whole.len()) || !digits(whole) || !digits(fraction) {
        return None;
    }
    if whole.starts_with('0') && (whole != "0" || !fraction.ends_with(|c| c != '0')) {
        return None;
    }
    let thousandths: u64 = format!("{fraction:0<3}").parse().ok()?;
    let whole: u64 = whole.parse().ok()?;
    let bytes = u128::from(whole * 1000 + thousandths) * u128::from(factor) / 1000;
    Some(u64::try_from(bytes).unwrap_or(u64::MAX).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_have_one_unit_and_no_leading_zero() {
        assert_eq!(age_ms("1h", 5), Some(3_600_000));
        assert_eq!(age_ms("99999d", 5), Some(99_999 * 86_400_000));
        for text in [
            "", "h", "1", "0h", "01h", "100000s", "1w", "1H", "-1h", "1.5h", "1 h", "1ü",
        ] {
            assert_eq!(age_ms(text, 5), None, "{text}");
        }
    }

    #[test]
    fn sizes_have_binary_and_decimal_units() {
        for (text, expected) in [
            ("200Gi", Some(200 << 30)),
            ("1.5k", Some(1500)),
            ("0.001Ki", Some(1)),
            ("7", Some(7)),
            ("0", None),
            ("0.0", None),
            ("0.10", None),
            ("01Gi", None),
            ("-1Gi", None),
            ("1.Gi", None),
            ("1.1234Gi", None),
            ("1GB", None),
            (".5Gi", None),
            ("1.2.3Gi", None),
            ("", None),
        ] {
            assert_eq!(bytes(&Bytes::Text(text.to_owned())), expected, "{text}");
        }
        assert_eq!(bytes(&Bytes::Number(-1)), None);
        assert_eq!(bytes(&Bytes::Number(0)), None);
        assert_eq!(bytes(&Bytes::Number(9)), Some(9));
    }
}
