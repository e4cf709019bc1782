//! Who may call a method and what a request must look like, as the proto files declare it.
//!
//! [`Rules::compiled`] reads the options `access` and `rule` (options.proto) from [`tourmesh::DESCRIPTORS`] once. It
//! promises, for every method of the API:
//!
//! - a method without an access rule is nobody's to call ([`Access::Nobody`]), and a method that is not here does not
//!   exist: when the descriptors cannot be read there are no methods at all, which refuses everybody;
//! - [`MethodRule::validate`] lets through only bytes that a decoder will take and whose fields keep their rules, so
//!   that a handler checks nothing that the proto file already says. Bytes that are not the message are
//!   MALFORMED_REQUEST; fields that break a rule are FIELD_INVALID, all of them at once (the first twenty), each with
//!   its path;
//! - what has no rule has a bound all the same: a text has at most 512 characters and never U+0000, a list at most 100
//!   items, bytes at most 256 KiB, messages are nested at most 32 deep;
//! - validation reads the bytes in place and allocates nothing unless something is wrong (amounts of money excepted:
//!   they are decoded to be checked), because every request of every service goes through it.
//!
//! One thing it does not promise: when a message that should come once is sent in pieces, each piece is checked by
//! itself, and a decoder merges them. The lists of such pieces may add up to more than their bound (never to more than a
//! request may weigh), and an amount may be mixed of two good ones: whoever computes with money reads it with
//! [`Money::of_wire`](crate::money::Money::of_wire), which looks again.
//!
//! It knows nothing of objects: whether this caller may see this booking is the handler's to decide.

mod format;
mod plan;
mod reader;
mod wire;

#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    sync::{Arc, LazyLock},
};

use prost_reflect::{DescriptorPool, ExtensionDescriptor, MethodDescriptor};
use prost_types::method_options::IdempotencyLevel;
use tourmesh::options::v1::AccessRule;
pub use tourmesh::options::v1::Role;

use crate::error::ApiResult;
use plan::{Compiler, Plans, extension};

/// The rules of every method of the API.
#[derive(Debug, Default)]
pub struct Rules {
    methods: Vec<MethodRule>,
    by_path: HashMap<String, usize>,
}

/// The rules of one method.
#[derive(Debug)]
pub struct MethodRule {
    path: String,
    service: String,
    name: String,
    access: Access,
    idempotency: IdempotencyLevel,
    is_server_streaming: bool,
    is_client_streaming: bool,
    plans: Arc<Plans>,
    input: usize,
}

/// Who may call a method.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Access {
    /// Nobody: the method has no access rule, or one without roles.
    Nobody,
    /// Anybody, with or without a token.
    Public,
    /// Who has one of these roles.
    Roles(Vec<Role>),
}

impl Access {
    /// A caller with these roles may call; a caller without a token has none.
    pub fn allows(&self, roles: &[Role]) -> bool {
        match self {
            Self::Nobody => false,
            Self::Public => true,
            Self::Roles(allowed) => allowed.iter().any(|role| roles.contains(role)),
        }
    }

    fn of(rule: &AccessRule) -> Self {
        if rule.public {
            return Self::Public;
        }
        // UNSPECIFIED is no role, so it must not let in who has none.
        let roles: Vec<Role> = rule.roles().filter(|role| *role != Role::Unspecified).collect();
        if roles.is_empty() { Self::Nobody } else { Self::Roles(roles) }
    }
}

impl Rules {
    /// The rules of [`tourmesh::DESCRIPTORS`].
    pub fn compiled() -> &'static Self {
        static RULES: LazyLock<Rules> = LazyLock::new(|| {
            Rules::of(tourmesh::DESCRIPTORS).unwrap_or_else(|problem| {
                // A test keeps this from happening; if it does all the same, no rules must mean no calls.
                tracing::error!(problem, "the access and field rules cannot be read: every call is refused");
                Rules::default()
            })
        });
        &RULES
    }

    /// The rule of a method by the path of its HTTP request: "/tourmesh.booking.v1.BookingService/GetBooking".
    pub fn method(&self, path: &str) -> Option<&MethodRule> {
        self.methods.get(*self.by_path.get(path)?)
    }

    /// All of them, service by service.
    pub fn methods(&self) -> impl Iterator<Item = &MethodRule> {
        self.methods.iter()
    }

    fn of(descriptors: &[u8]) -> Result<Self, String> {
        let pool = DescriptorPool::decode(descriptors).map_err(|e| e.to_string())?;
        let access = extension(&pool, "tourmesh.options.v1.access")?;
        let mut compiler = Compiler::new(&pool)?;
        let mut inputs = Vec::new();
        for service in pool.services() {
            for method in service.methods() {
                let input = compiler.message(&method.input())?;
                inputs.push((method, input));
            }
        }
        let plans = Arc::new(compiler.finish());
        let methods = inputs
            .into_iter()
            .map(|(method, input)| MethodRule::of(&method, &access, input, Arc::clone(&plans)))
            .collect::<Result<Vec<_>, _>>()?;
        let by_path = methods.iter().enumerate().map(|(i, m)| (m.path.clone(), i)).collect();
        Ok(Self { methods, by_path })
    }
}

impl MethodRule {
    /// "/tourmesh.booking.v1.BookingService/GetBooking".
    pub fn path(&self) -> &str {
        &self.path
    }

    /// "tourmesh.booking.v1.BookingService".
    pub fn service(&self) -> &str {
        &self.service
    }

    /// "GetBooking".
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Who may call it.
    pub fn access(&self) -> &Access {
        &self.access
    }

    /// The same call twice does what it does once: a client may repeat it when it does not know what became of it.
    pub fn is_repeatable(&self) -> bool {
        self.idempotency != IdempotencyLevel::IdempotencyUnknown
    }

    /// It changes something, or may.
    pub fn has_side_effects(&self) -> bool {
        self.idempotency != IdempotencyLevel::NoSideEffects
    }

    /// It answers with a stream.
    pub fn is_server_streaming(&self) -> bool {
        self.is_server_streaming
    }

    /// It is asked with a stream; each message is validated by itself.
    pub fn is_client_streaming(&self) -> bool {
        self.is_client_streaming
    }

    /// Checks the bytes of one request message, without the five bytes of its gRPC frame.
    ///
    /// # Errors
    /// MALFORMED_REQUEST when the bytes are not the message, FIELD_INVALID with the path of each field that breaks its
    /// rule.
    pub fn validate(&self, message: &[u8]) -> ApiResult<()> {
        wire::check(&self.plans, self.input, message)
    }

    fn of(
        method: &MethodDescriptor,
        access: &ExtensionDescriptor,
        input: usize,
        plans: Arc<Plans>,
    ) -> Result<Self, String> {
        let service = method.parent_service().full_name().to_owned();
        let name = method.name().to_owned();
        let options = method.options();
        let access = if options.has_extension(access) {
            let value = options.get_extension(access);
            let message = value.as_message().ok_or("the option access is not a message")?;
            let rule = message.transcode_to().map_err(|e| format!("access of {}: {e}", method.full_name()))?;
            Access::of(&rule)
        } else {
            Access::Nobody
        };
        let options = method.method_descriptor_proto().options.as_ref();
        Ok(Self {
            path: format!("/{service}/{name}"),
            service,
            name,
            access,
            idempotency: options.map(|o| o.idempotency_level()).unwrap_or_default(),
            is_server_streaming: method.is_server_streaming(),
            is_client_streaming: method.is_client_streaming(),
            plans,
            input,
        })
    }
}
