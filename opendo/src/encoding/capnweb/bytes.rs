//! Bytes in texts, and what JavaScript holds them in.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

const CONFIG: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_encode_padding(false)
    .with_decode_padding_mode(DecodePaddingMode::Indifferent)
    .with_decode_allow_trailing_bits(true);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, CONFIG);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, CONFIG);

pub(crate) use crate::value::ByteContainer as Container;

/// How many bytes that base64 stands for, with or without padding, of either alphabet; `None` if it is none.
pub(super) fn decoded_len(text: &str) -> Option<usize> {
    let digits = text.strip_suffix("==").or_else(|| text.strip_suffix('=')).unwrap_or(text).as_bytes();
    let padding = text.len() - digits.len();
    let ends_right = digits.len() % 4 != 1 && (padding == 0 || text.len().is_multiple_of(4));
    let are_digits = digits
        .iter()
        .all(|byte| matches!(byte, b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'+' | b'/'))
        || digits.iter().all(|byte| matches!(byte, b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_'));
    (ends_right && are_digits).then_some(digits.len() * 3 / 4)
}

pub(super) fn decode(text: &str) -> Option<Vec<u8>> {
    let engine = if text.bytes().any(|byte| matches!(byte, b'-' | b'_')) { URL_SAFE } else { STANDARD };
    engine.decode(text).ok()
}

/// Appends them without padding.
pub(super) fn encode(bytes: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    out.resize(start + bytes.len().div_ceil(3) * 4, 0);
    let written = STANDARD.encode_slice(bytes, &mut out[start..]).expect("there is room for them");
    out.truncate(start + written);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_back_and_the_length_is_known_before() {
        for length in 0..20_u8 {
            let bytes: Vec<u8> = (0..length).map(|byte| byte.wrapping_mul(73)).collect();
            let mut text = Vec::new();
            encode(&bytes, &mut text);
            let text = String::from_utf8(text).unwrap();
            assert_eq!(decoded_len(&text), Some(bytes.len()));
            assert_eq!(decode(&text).as_ref(), Some(&bytes));
        }
    }

    #[test]
    fn both_alphabets_and_padding_are_taken_and_garbage_is_not() {
        for (text, bytes) in
            [("+/8=", &[0xfb, 0xff][..]), ("-_8", &[0xfb, 0xff]), ("AA==", &[0]), ("", &[]), ("AB", &[0])]
        {
            assert_eq!(decode(text).as_deref(), Some(bytes), "{text}");
            assert_eq!(decoded_len(text), Some(bytes.len()), "{text}");
        }
        for text in ["A", "AAAAA", "AA=A", "=", "+_AA", "AA A", "AAA==", "é==="] {
            assert_eq!((decode(text), decoded_len(text)), (None, None), "{text}");
        }
    }
}
