//! The texts that JavaScript's `BigInt()` takes.

/// The digits of an integer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Parts<'a> {
    pub(crate) negative: bool,
    pub(crate) radix: u32,
    /// At least one.
    pub(crate) digits: &'a str,
}

/// Takes an integer apart: `""` is 0, `0x`, `0o` and `0b` are prefixes without a sign, blanks around it do not count.
pub(crate) fn parts(text: &str) -> Option<Parts<'_>> {
    let text = text.trim_matches(|c: char| c.is_whitespace() || c == '\u{feff}');
    if text.is_empty() {
        return Some(Parts { negative: false, radix: 10, digits: "0" });
    }
    let radix = match text.get(..2) {
        Some("0x" | "0X") => 16,
        Some("0o" | "0O") => 8,
        Some("0b" | "0B") => 2,
        _ => 10,
    };
    let (negative, digits) = match (radix, text.as_bytes()[0]) {
        (10, b'-') => (true, &text[1..]),
        (10, b'+') => (false, &text[1..]),
        (10, _) => (false, text),
        _ => (false, &text[2..]),
    };
    let valid = !digits.is_empty() && digits.chars().all(|digit| digit.is_digit(radix));
    valid.then_some(Parts { negative, radix, digits })
}

/// The same number in decimal digits, without leading zeros.
pub(crate) fn decimal(text: &str) -> Option<String> {
    const CHUNK: u64 = 1_000_000_000;
    let Parts { negative, radix, digits } = parts(text)?;
    let digits = digits.trim_start_matches('0');
    if digits.is_empty() {
        return Some("0".to_owned());
    }
    let sign = if negative { "-" } else { "" };
    if radix == 10 {
        return Some(format!("{sign}{digits}"));
    }
    // Nine decimal digits each, the last ones first. As many digits at once as a chunk has room for.
    let mut chunks = vec![0_u64];
    let at_once = if radix == 16 { 7 } else { 9 };
    for digits in digits.as_bytes().chunks(at_once) {
        let digits = std::str::from_utf8(digits).ok()?;
        let factor = u64::from(radix).pow(u32::try_from(digits.len()).ok()?);
        let mut carry = u64::from_str_radix(digits, radix).ok()?;
        for chunk in &mut chunks {
            let sum = *chunk * factor + carry;
            *chunk = sum % CHUNK;
            carry = sum / CHUNK;
        }
        if carry > 0 {
            chunks.push(carry);
        }
    }
    let mut text = String::new();
    for (at, chunk) in chunks.iter().rev().enumerate() {
        text += &if at == 0 { format!("{chunk}") } else { format!("{chunk:09}") };
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_radixes_are_converted_whatever_their_length() {
        for digits in 1..40 {
            let number = u128::MAX >> (128 - 3 * digits);
            assert_eq!(decimal(&format!("{number:#x}")), Some(number.to_string()));
            assert_eq!(decimal(&format!("{number:#o}")), Some(number.to_string()));
            assert_eq!(decimal(&format!("{number:#b}")), Some(number.to_string()));
        }
    }

    #[test]
    fn what_javascript_takes_is_taken_and_nothing_else() {
        for (text, expected) in [
            ("", "0"),
            ("  ", "0"),
            ("0", "0"),
            ("-0", "0"),
            ("007", "7"),
            ("+5", "5"),
            (" -12\n", "-12"),
            ("0x10", "16"),
            ("0XfF", "255"),
            ("0b101", "5"),
            ("0o17", "15"),
            ("0xffffffffffffffffffffffff", "79228162514264337593543950335"),
            ("0x3b9aca00", "1000000000"),
        ] {
            assert_eq!(decimal(text).as_deref(), Some(expected), "{text:?}");
        }
        for text in ["-", "+", "1.5", "1e3", "0x", "-0x1", "0xg", "0b2", "1n", "1 2", "--1", "一"] {
            assert_eq!(decimal(text), None, "{text:?}");
        }
    }
}
