//! Bytes as text in JSON: hex for keys, escaped text for what is mostly readable.

use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE, HEXUPPER};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

/// Bytes that JSON shows as lower-case hex, two digits per byte; no bytes are the empty string.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct HexBytes(pub Vec<u8>);

impl From<Vec<u8>> for HexBytes {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

impl From<HexBytes> for Vec<u8> {
    fn from(bytes: HexBytes) -> Self {
        bytes.0
    }
}

impl From<&[u8]> for HexBytes {
    fn from(bytes: &[u8]) -> Self {
        Self(bytes.to_vec())
    }
}

impl Serialize for HexBytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&HEXLOWER.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for HexBytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        HEXLOWER_PERMISSIVE.decode(text.as_bytes()).map(Self).map_err(D::Error::custom)
    }
}

/// The byte that two hex digits give.
pub(super) fn byte(digits: &[u8]) -> Option<u8> {
    let bytes: [u8; 1] = HEXLOWER_PERMISSIVE.decode(digits).ok()?.try_into().ok()?;
    Some(u8::from_be_bytes(bytes))
}

/// Printable ASCII except the backslash as it is, every other byte as `\x` and two upper-case hex digits.
pub(super) fn escape(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for &byte in bytes {
        if (0x20..0x7f).contains(&byte) && byte != b'\\' {
            text.push(char::from(byte));
        } else {
            text.push_str("\\x");
            HEXUPPER.encode_append(&[byte], &mut text);
        }
    }
    text
}

/// The bytes that [`escape`] turned into text, or `None` when the text is none of its.
pub(super) fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        if *first != b'\\' {
            bytes.push(*first);
            rest = after;
            continue;
        }
        let [b'x', digits @ ..] = after else { return None };
        let (digits, after) = digits.split_at_checked(2)?;
        bytes.push(byte(digits)?);
        rest = after;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_survives() {
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(unescape(&escape(&all)).unwrap(), all);
        let json = serde_json::to_string(&HexBytes(all.clone())).unwrap();
        assert_eq!(serde_json::from_str::<HexBytes>(&json).unwrap().0, all);
    }

    #[test]
    fn readable_text_stays_readable() {
        assert_eq!(escape(b"VERSIONS"), "VERSIONS");
        assert_eq!(escape(b"a\\\x00\xff"), "a\\x5C\\x00\\xFF");
    }

    #[test]
    fn bad_text_is_refused() {
        for text in ["\\", "\\x", "\\x1", "\\xzz", "\\n", "\\x+1"] {
            assert_eq!(unescape(text), None, "{text}");
        }
        for json in ["\"1\"", "\"zz\"", "\"+1\"", "\"é\""] {
            assert!(serde_json::from_str::<HexBytes>(json).is_err(), "{json}");
        }
    }
}
