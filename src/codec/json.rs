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

/// The members of a JSON object of texts, such as the tags of a series; others are left out.
pub fn tags_of_json(text: &str) -> Vec<(String, String)> {
    let members = object(text.as_bytes()).unwrap_or_default().into_iter();
    members.filter_map(|(key, value)| Some((key, value.as_str()?.to_owned()))).collect()
}
