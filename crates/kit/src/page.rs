//! Page tokens: where a list goes on, tied to the method and the filters that made them.
//!
//! A token is the sort key of the last row and a hash of the filters; it is not a secret and grants nothing, since every
//! page checks the caller anew. A token used with other filters is refused instead of giving a wrong page.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Serialize, de::DeserializeOwned};
use sha2::{Digest as _, Sha256};
use tourmesh::common::v1::ErrorReason;

use crate::{ApiError, ApiResult};

/// The largest page where a method does not say otherwise.
pub const MAX_PAGE_SIZE: i32 = 100;

/// How many rows to read for a request's `page_size`: the default for 0, never more than `max`.
pub fn size(page_size: i32, default: u32, max: u32) -> u32 {
    u32::try_from(page_size).ok().filter(|n| *n > 0).unwrap_or(default).min(max)
}

/// Writes the token that goes on after `key`. `filters` is everything that shapes the list: the method's name and the
/// request without page_size and page_token, encoded in any stable way.
pub fn token<K: Serialize>(key: &K, filters: &[u8]) -> String {
    let mut bytes = digest(filters).to_vec();
    bytes.extend(serde_json::to_vec(key).unwrap_or_default());
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Reads a token; an empty one is the first page.
///
/// # Errors
/// PAGE_TOKEN_INVALID when it was not made by [`token`] with the same filters.
pub fn read<K: DeserializeOwned>(token: &str, filters: &[u8]) -> ApiResult<Option<K>> {
    if token.is_empty() {
        return Ok(None);
    }
    let key = URL_SAFE_NO_PAD.decode(token).ok().and_then(|bytes| {
        let (hash, key) = bytes.split_at_checked(8)?;
        if hash != digest(filters) {
            return None;
        }
        serde_json::from_slice(key).ok()
    });
    key.map(Some).ok_or_else(|| {
        ApiError::new(
            ErrorReason::PageTokenInvalid,
            "page_token was not made by this method with these filters; start at the first page",
        )
        .violation("page_token", "was not made by this method with these filters")
    })
}

fn digest(filters: &[u8]) -> [u8; 8] {
    let mut short = [0; 8];
    short.copy_from_slice(&Sha256::digest(filters)[..8]);
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_works_with_its_own_filters_only() {
        let made = token(&("2026-01-01", 7), b"ListTours");
        assert_eq!(read(&made, b"ListTours").unwrap(), Some(("2026-01-01".to_owned(), 7)));
        for (token, filters) in [(made.as_str(), b"other".as_slice()), ("x", b"ListTours"), ("AAAA", b"ListTours")] {
            let error = read::<(String, i32)>(token, filters).unwrap_err();
            assert_eq!(error.reason(), ErrorReason::PageTokenInvalid);
        }
    }
}
