//! JSON values of cells, read for typed columns; the stored bytes stay what they are.

use serde_json::Value;

/// The value as a JSON object; `None` for anything else.
pub fn object(bytes: &[u8]) -> Option<serde_json::Map<String, Value>> {
    match serde_json::from_slice(bytes) {
        Ok(Value::Object(map)) => Some(map),
        _ => None,
    }
}

/// The text of a value that is a JSON object; `None` for anything else.
pub fn text(bytes: &[u8]) -> Option<String> {
    object(bytes)?;
    String::from_utf8(bytes.to_vec()).ok()
}
