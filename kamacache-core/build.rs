//! Compiles the wire contract with protox, so that no protoc is needed.

use std::path::PathBuf;

use prost::Message;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // A link, so that the contract is in the package too.
    let root = "proto";
    println!("cargo:rerun-if-changed={root}");
    let descriptors = protox::compile(["kama/v1/kama.proto"], [root])?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?).join("kama.bin");
    std::fs::write(out, descriptors.encode_to_vec())?;
    tonic_prost_build::configure()
        .bytes(".kama.v1")
        .compile_fds(descriptors)?;
    Ok(())
}
