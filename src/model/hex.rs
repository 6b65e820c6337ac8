//! Bytes as hex: upper-case, the way OpenTSDB shows UIDs and TSUIDs; lower-case in JSON, for keys.

use data_encoding::{HEXUPPER, HEXUPPER_PERMISSIVE};

/// Upper-case hex.
pub fn hex(bytes: &[u8]) -> String {
    HEXUPPER.encode(bytes)
}

/// The bytes behind hex of either case; `None` for an odd length or another character.
pub fn unhex(text: &[u8]) -> Option<Vec<u8>> {
    HEXUPPER_PERMISSIVE.decode(text).ok()
}

/// Bytes in JSON, for `#[serde(with)]`: lower-case hex, two digits per byte; no bytes are the empty string.
pub mod bytes {
    use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    /// Writes the digits.
    ///
    /// # Errors
    /// The serializer's.
    pub fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&HEXLOWER.encode(bytes))
    }

    /// Reads digits of either case.
    ///
    /// # Errors
    /// The deserializer's; text that is no hex.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(deserializer)?;
        HEXLOWER_PERMISSIVE.decode(text.as_bytes()).map_err(D::Error::custom)
    }
}

/// Bytes that may be missing, in JSON: as [`bytes`], or `null`.
pub mod optional {
    use serde::{Deserialize, Deserializer, Serializer};

    #[derive(Deserialize)]
    struct Bytes(#[serde(with = "super::bytes")] Vec<u8>);

    /// Writes the digits or `null`.
    ///
    /// # Errors
    /// The serializer's.
    pub fn serialize<S: Serializer>(bytes: &Option<Vec<u8>>, serializer: S) -> Result<S::Ok, S::Error> {
        match bytes {
            Some(bytes) => super::bytes::serialize(bytes, serializer),
            None => serializer.serialize_none(),
        }
    }

    /// Reads digits or `null`.
    ///
    /// # Errors
    /// The deserializer's; text that is no hex.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<u8>>, D::Error> {
        Ok(Option::<Bytes>::deserialize(deserializer)?.map(|bytes| bytes.0))
    }
}
