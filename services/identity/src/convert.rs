//! Between the wire and the domain, and nothing else.

use kit::{ApiResult, auth::Role, time};
use tourmesh::identity::v1 as wire;
use tourmesh_kit as kit;

use crate::{
    domain::user::{Grants, SupplierId, User},
    error::IdentityError,
    sessions::Tokens,
};

/// To the wire.
pub fn user(user: &User) -> wire::User {
    wire::User {
        id: user.id.to_string(),
        email: user.email.as_str().to_owned(),
        full_name: user.full_name.clone(),
        language: user.language.text().to_owned(),
        roles: user.grants.roles().iter().map(|r| i32::from(*r)).collect(),
        supplier_id: user.grants.supplier().map(|s| s.to_string()).unwrap_or_default(),
        created_at: Some(time::to_wire(user.created_at)),
    }
}

/// To the wire.
pub fn tokens(tokens: Tokens) -> wire::TokenPair {
    wire::TokenPair {
        access_token: tokens.access,
        refresh_token: tokens.refresh,
        access_expires_at: Some(time::to_wire(tokens.access_expires_at)),
        refresh_expires_at: Some(time::to_wire(tokens.refresh_expires_at)),
    }
}

/// Of the wire.
///
/// # Errors
/// FIELD_INVALID that names the role or the supplier.
pub fn grants(roles: &[i32], supplier_id: &str) -> ApiResult<Grants> {
    let supplier = match supplier_id {
        "" => None,
        text => Some(SupplierId::of_field("supplier_id", text)?),
    };
    let roles: Vec<_> = roles.iter().map(|r| Role::try_from(*r).unwrap_or(Role::Unspecified)).collect();
    Ok(Grants::new(&roles, supplier).map_err(IdentityError::Grants)?)
}
