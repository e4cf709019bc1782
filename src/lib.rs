//! The public gRPC API of tourmesh as a Rust crate: messages, clients and server traits, generated from `proto/`.
//!
//! It promises to hold nothing but what the proto files say. Start with [`catalog::v1`] to find something to book and
//! [`booking::v1`] to book it; [`common::v1::ErrorReason`] lists every reason for a failure, and [`DESCRIPTORS`] is what
//! reflection, the access rules and the field rules are read from.

// Generated code: the comments come from the proto files, where `buf lint` demands them.
#[allow(missing_docs, clippy::all, clippy::pedantic, rustdoc::all)]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/mod.rs"));
}

pub use generated::google;
pub use generated::tourmesh::{booking, catalog, common, identity, notification, options, payment};

/// The encoded `google.protobuf.FileDescriptorSet` of everything here, custom options and comments included.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
