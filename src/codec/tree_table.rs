//! `tsdb-tree`: family `t`, row key tree id (u16) and 4 bytes per level, or id and `01` / `02`.

use crate::codec::{POINT_FAMILY, json};
use crate::model::{Cell, RawReason, TreeRow};

/// Reads a cell.
///
/// # Errors
/// The reason to keep it raw: another family, a key of another shape, an empty or unknown qualifier, bad JSON.
pub fn read(cell: &Cell<'_>) -> Result<TreeRow, RawReason> {
    if cell.family != POINT_FAMILY {
        return Err(RawReason::OtherFamily);
    }
    let (id, path) = cell.row.split_first_chunk::<2>().ok_or(RawReason::BadRowKey)?;
    if !matches!(path, [1] | [2]) && !path.len().is_multiple_of(4) {
        return Err(RawReason::BadRowKey);
    }
    let (role, is_json) = role(cell.qualifier)?;
    let text = if is_json {
        Some(json::text(cell.value).ok_or(RawReason::BadJson)?)
    } else {
        String::from_utf8(cell.value.to_vec()).ok()
    };
    let tree = Some(u16::from_be_bytes(*id)).filter(|id| *id != 0);
    Ok(TreeRow { cell: cell.to_owned(), tree, role, text })
}

/// What a qualifier stands for, and whether its value is JSON.
fn role(qualifier: &[u8]) -> Result<(&'static str, bool), RawReason> {
    Ok(match qualifier {
        b"" => return Err(RawReason::EmptyQualifier),
        b"tree" => ("tree", true),
        b"branch" => ("branch", true),
        _ if qualifier.starts_with(b"tree_rule:") => ("rule", true),
        _ if qualifier.starts_with(b"leaf:") && qualifier.len() == 9 => ("leaf", true),
        _ if qualifier.starts_with(b"leaf:") => ("other", false),
        _ if qualifier.starts_with(b"tree_collision:") => ("collision", false),
        _ if qualifier.starts_with(b"tree_not_matched:") => ("not_matched", false),
        _ => return Err(RawReason::UnknownQualifier),
    })
}
