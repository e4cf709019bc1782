//! Compiles proto/ to Rust with protox, so that nobody needs protoc, and writes the descriptor set that reflection and
//! the rule layer read. protox keeps the custom options; prost alone would drop them.
use std::{env, error::Error, fs, path::PathBuf};

use prost::Message as _;

const FILES: &[&str] = &[
    "tourmesh/options/v1/options.proto",
    "tourmesh/common/v1/common.proto",
    "tourmesh/common/v1/errors.proto",
    "tourmesh/catalog/v1/catalog.proto",
    "tourmesh/catalog/v1/taxes.proto",
    "tourmesh/catalog/v1/pools.proto",
    "tourmesh/catalog/v1/events.proto",
    "tourmesh/booking/v1/booking.proto",
    "tourmesh/booking/v1/promo.proto",
    "tourmesh/booking/v1/events.proto",
    "tourmesh/payment/v1/payment.proto",
    "tourmesh/payment/v1/events.proto",
    "tourmesh/notification/v1/notification.proto",
    "tourmesh/notification/v1/webhooks.proto",
    "tourmesh/notification/v1/events.proto",
    "tourmesh/identity/v1/identity.proto",
    "tourmesh/identity/v1/events.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let mut compiler = protox::Compiler::new(["proto"])?;
    compiler.include_imports(true).include_source_info(true);
    compiler.open_files(FILES)?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("descriptors.bin"), compiler.encode_file_descriptor_set())?;
    let mut set = compiler.file_descriptor_set();
    // rustdoc reads the comments of vendored files as Markdown of ours; they are not.
    for file in &mut set.file {
        if file.package().starts_with("google.") {
            file.source_code_info = None;
        }
    }
    debug_assert!(set.encoded_len() > 0);
    let mut prost = tonic_prost_build::Config::new();
    prost.enable_type_names();
    tonic_prost_build::configure()
        .include_file("mod.rs")
        .bytes(".tourmesh.payment.v1.HandleProviderEventRequest.body")
        .compile_fds_with_config(set, prost)?;
    Ok(())
}
