//! Compiles the wire contract with protox, so that no protoc is needed.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = "../proto";
    println!("cargo:rerun-if-changed={root}");
    let descriptors = protox::compile(["kama/v1/kama.proto"], [root])?;
    tonic_prost_build::configure()
        .bytes(".kama.v1")
        .compile_fds(descriptors)?;
    Ok(())
}
