//! JSON that carries its own hash, and the check of its version.

use bytes::Bytes;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Serialize};

use super::FORMAT;
use super::error::RepositoryError;

const BEFORE: &[u8] = b"\"self_blake3\": \"";
const BEHIND: &[u8] = b"\"\n}\n";
const DIGITS: usize = 64;

/// The text of a value as this format writes it: indented by two spaces, a line feed at the end.
pub(super) fn plain<T: Serialize>(value: &T, path: &str) -> Result<Vec<u8>, RepositoryError> {
    let encode = |reason: String| RepositoryError::Encode { path: path.to_owned(), reason };
    let mut text = serde_json::to_vec_pretty(value).map_err(|e| encode(e.to_string()))?;
    text.push(b'\n');
    Ok(text)
}

/// The text of a value whose last field, `self_blake3`, is empty, with the hash filled in.
pub(super) fn seal<T: Serialize>(value: &T, path: &str) -> Result<Bytes, RepositoryError> {
    let text = plain(value, path)?;
    let head = text.strip_suffix(BEHIND).filter(|head| head.ends_with(BEFORE));
    let Some(head) = head else {
        let reason = "its last field is not an empty self_blake3".to_owned();
        return Err(RepositoryError::Encode { path: path.to_owned(), reason });
    };
    let digits = blake3::hash(&text).to_hex();
    Ok([head, digits.as_bytes(), BEHIND].concat().into())
}

/// Reads such a text: the version first, then the hash, then the fields.
pub(super) fn unseal<T: DeserializeOwned>(text: &[u8], path: &str) -> Result<T, RepositoryError> {
    check_format(text, path)?;
    if !hash_fits(text) {
        return Err(RepositoryError::Edited { path: path.to_owned() });
    }
    parse(text, path)
}

fn hash_fits(text: &[u8]) -> bool {
    let split = text.strip_suffix(BEHIND).and_then(|head| head.split_at_checked(head.len().checked_sub(DIGITS)?));
    let Some((head, digits)) = split.filter(|(head, _)| head.ends_with(BEFORE)) else { return false };
    let hash = blake3::Hasher::new().update(head).update(BEHIND).finalize();
    hash.to_hex().as_bytes() == digits
}

/// Refuses a text whose `format` is not this program's.
pub(super) fn check_format(text: &[u8], path: &str) -> Result<(), RepositoryError> {
    #[derive(Deserialize)]
    struct Version {
        format: u64,
    }
    let version: Version = parse(text, path)?;
    if version.format > u64::from(FORMAT) {
        let (path, found) = (path.to_owned(), version.format);
        return Err(RepositoryError::NewerFormat { path, found, known: FORMAT });
    }
    if version.format < u64::from(FORMAT) {
        let (path, found) = (path.to_owned(), version.format);
        return Err(RepositoryError::OlderFormat { path, found, known: FORMAT });
    }
    Ok(())
}

/// Reads a JSON text.
pub(super) fn parse<T: DeserializeOwned>(text: &[u8], path: &str) -> Result<T, RepositoryError> {
    let damaged = |reason: String| RepositoryError::Damaged { path: path.to_owned(), reason };
    serde_json::from_slice(text).map_err(|e| damaged(e.to_string()))
}

/// True when the text is JSON at all.
pub(super) fn is_json(text: &[u8]) -> bool {
    serde_json::from_slice::<IgnoredAny>(text).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Sample {
        format: u32,
        text: String,
        self_blake3: String,
    }

    fn sealed() -> Bytes {
        let sample = Sample { format: FORMAT, text: "\"self_blake3\": \"\"\n}\n".into(), self_blake3: String::new() };
        seal(&sample, "x").unwrap()
    }

    #[test]
    fn what_is_sealed_is_read_back() {
        let back: Sample = unseal(&sealed(), "x").unwrap();
        assert_eq!((back.format, back.self_blake3.len()), (FORMAT, DIGITS));
    }

    #[test]
    fn every_changed_byte_is_noticed() {
        let text = sealed();
        for at in 0..text.len() {
            let mut changed = text.to_vec();
            changed[at] ^= 1;
            assert!(unseal::<Sample>(&changed, "x").is_err(), "byte {at}");
        }
        assert!(unseal::<Sample>(&text[..text.len() - 1], "x").is_err());
    }

    #[test]
    fn the_hash_is_the_one_that_the_format_describes() {
        let text = String::from_utf8(sealed().to_vec()).unwrap();
        let at = text.rfind(": \"").unwrap() + 3;
        let without = format!("{}{}", &text[..at], &text[at + DIGITS..]);
        assert_eq!(blake3::hash(without.as_bytes()).to_hex().as_str(), &text[at..at + DIGITS]);
    }

    #[test]
    fn a_newer_format_is_refused_before_its_fields_are_read() {
        let error = unseal::<Sample>(br#"{"format": 99, "other": 1}"#, "x").unwrap_err();
        assert!(matches!(error, RepositoryError::NewerFormat { found: 99, .. }), "{error}");
    }
}
