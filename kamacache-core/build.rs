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
        // Shared, but for what is built and read in bulk.
        .bytes(".kama.v1.GetResponse")
        .bytes(".kama.v1.SetRequest")
        .bytes(".kama.v1.SetResponse")
        .bytes(".kama.v1.Request")
        .bytes(".kama.v1.Reply")
        .bytes(".kama.v1.GroupOptions")
        .bytes(".kama.v1.Gets.group")
        .compile_fds(descriptors)?;
    Ok(())
}
