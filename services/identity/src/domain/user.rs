//! People and what they may do.

use chrono::{DateTime, Utc};
use kit::auth::Role;
use tourmesh_kit as kit;

kit::define_id!(
    /// A person with an account.
    UserId,
    "usr"
);
kit::define_id!(
    /// A supplier, as Catalog knows it.
    SupplierId,
    "sup"
);

/// An e-mail address in the one form in which it is compared and stored.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Email(String);

/// The address is too long in the form in which it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be no longer than 254 bytes in lower case")]
pub struct EmailTooLong;

impl Email {
    /// Lower case, so that one mailbox cannot sign up twice. What is no address was refused by the field rules, but some
    /// letters are longer in lower case.
    ///
    /// # Errors
    /// When it became too long.
    pub fn new(text: &str) -> Result<Self, EmailTooLong> {
        let lower = text.trim().to_lowercase();
        if lower.len() > 254 { Err(EmailTooLong) } else { Ok(Self(lower)) }
    }
    /// One that is stored.
    pub fn stored(text: String) -> Self {
        Self(text)
    }
    /// As stored.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Email {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Addresses are personal data, and `Debug` is what logs print.
        f.write_str("Email(…)")
    }
}

/// The languages that the platform writes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Language {
    /// "en".
    #[default]
    English,
    /// "fr".
    French,
}

impl Language {
    /// As the wire and the database have it.
    pub const fn text(self) -> &'static str {
        match self {
            Self::English => "en",
            Self::French => "fr",
        }
    }
    /// "fr" is French; everything else, the empty text included, is the default.
    pub fn of_text(text: &str) -> Self {
        if text == "fr" { Self::French } else { Self::English }
    }
}

/// What a person may do: at least one role, each once, in a fixed order; a supplier exactly with the role supplier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grants {
    roles: Vec<Role>,
    supplier: Option<SupplierId>,
}

/// Why these are no grants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum GrantsError {
    /// No role at all.
    #[error("must name at least one role")]
    NoRole,
    /// The role at this position is none that a person can have.
    #[error("must be traveller, supplier or staff")]
    NotForPeople(usize),
    /// The role supplier without a supplier.
    #[error("is needed with the role supplier")]
    SupplierMissing,
    /// A supplier without the role.
    #[error("must be empty without the role supplier")]
    SupplierUnexpected,
}

impl Grants {
    /// What everybody has who signs up.
    pub fn traveller() -> Self {
        Self { roles: vec![Role::Traveller], supplier: None }
    }

    /// Checks what somebody wants to grant.
    ///
    /// # Errors
    /// Says what is wrong.
    pub fn new(roles: &[Role], supplier: Option<SupplierId>) -> Result<Self, GrantsError> {
        const FOR_PEOPLE: [Role; 3] = [Role::Traveller, Role::Supplier, Role::Staff];
        if let Some(at) = roles.iter().position(|r| !FOR_PEOPLE.contains(r)) {
            return Err(GrantsError::NotForPeople(at));
        }
        let roles: Vec<_> = FOR_PEOPLE.into_iter().filter(|r| roles.contains(r)).collect();
        if roles.is_empty() {
            return Err(GrantsError::NoRole);
        }
        match (roles.contains(&Role::Supplier), supplier.is_some()) {
            (true, false) => Err(GrantsError::SupplierMissing),
            (false, true) => Err(GrantsError::SupplierUnexpected),
            _ => Ok(Self { roles, supplier }),
        }
    }

    /// Each once, in a fixed order.
    pub fn roles(&self) -> &[Role] {
        &self.roles
    }
    /// The supplier that the person works for.
    pub fn supplier(&self) -> Option<SupplierId> {
        self.supplier
    }
}

/// A person with an account, as others may see it.
#[derive(Debug, Clone)]
pub struct User {
    /// Its id.
    pub id: UserId,
    /// The address it signs in with.
    pub email: Email,
    /// The name it gave.
    pub full_name: String,
    /// The language it reads.
    pub language: Language,
    /// What it may do.
    pub grants: Grants,
    /// When it signed up.
    pub created_at: DateTime<Utc>,
}

#[cfg(test)]
mod tests {
    use proptest::{prelude::*, sample::select};

    use super::*;

    const ALL: [Role; 5] = [Role::Unspecified, Role::Traveller, Role::Supplier, Role::Staff, Role::Service];

    proptest! {
        #[test]
        fn grants_never_hold_a_role_twice_or_one_that_is_not_for_people(
            roles in proptest::collection::vec(select(&ALL[..]), 0..6), supplier: bool,
        ) {
            let supplier = supplier.then(SupplierId::new);
            if let Ok(grants) = Grants::new(&roles, supplier) {
                let mut once = grants.roles().to_vec();
                once.dedup();
                prop_assert_eq!(&once, grants.roles());
                prop_assert!(!once.is_empty());
                prop_assert!(!once.contains(&Role::Service) && !once.contains(&Role::Unspecified));
                prop_assert_eq!(once.contains(&Role::Supplier), grants.supplier().is_some());
                prop_assert_eq!(Grants::new(grants.roles(), grants.supplier()), Ok(grants.clone()));
            }
        }
    }

    #[test]
    fn an_address_has_one_form_and_is_not_shown_by_debug() {
        let email = Email::new("Ada.LOVELACE@Example.ORG").unwrap();
        assert_eq!(email.as_str(), "ada.lovelace@example.org");
        assert_eq!(Ok(&email), Email::new(email.as_str()).as_ref());
        assert!(!format!("{email:?}").contains("ada"));
    }

    #[test]
    fn an_address_that_grows_in_lower_case_is_measured_as_it_is_stored() {
        // U+0130 has two bytes, and three in lower case.
        let grows = |count: usize| format!("{}@example.org", "\u{130}".repeat(count));
        assert!(grows(100).len() <= 254 && Email::new(&grows(100)) == Err(EmailTooLong));
        assert!(Email::new(&grows(80)).is_ok());
    }
}
