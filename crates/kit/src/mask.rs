//! Field masks of update methods.

use prost_types::FieldMask;
use tourmesh::common::v1::ErrorReason;

use crate::{ApiError, ApiResult};

/// The fields that an update changes: those of the mask, or all changeable ones when the mask is empty.
///
/// # Errors
/// FIELD_MASK_INVALID when the mask names a field that is not in `changeable`.
pub fn fields<'a>(mask: Option<&FieldMask>, changeable: &[&'a str]) -> ApiResult<Vec<&'a str>> {
    let paths = mask.map(|m| m.paths.as_slice()).unwrap_or_default();
    if paths.is_empty() {
        return Ok(changeable.to_vec());
    }
    paths
        .iter()
        .map(|path| {
            changeable.iter().copied().find(|c| c == path).ok_or_else(|| {
                ApiError::new(
                    ErrorReason::FieldMaskInvalid,
                    format!(
                        "update_mask names {path:?}, which cannot be changed; it may name {}",
                        changeable.join(", ")
                    ),
                )
                .violation("update_mask", "names a field that cannot be changed")
            })
        })
        .collect()
}
