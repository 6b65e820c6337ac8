//! Bytes as upper-case hex, the way OpenTSDB shows UIDs and TSUIDs.

use data_encoding::{HEXUPPER, HEXUPPER_PERMISSIVE};

/// Upper-case hex.
pub fn hex(bytes: &[u8]) -> String {
    HEXUPPER.encode(bytes)
}

/// The bytes behind hex of either case; `None` for an odd length or another character.
pub fn unhex(text: &[u8]) -> Option<Vec<u8>> {
    HEXUPPER_PERMISSIVE.decode(text).ok()
}
