//! Compiles `proto/` with protox, so that no `protoc` is needed.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = "../../proto";
    println!("cargo:rerun-if-changed={root}");
    let files = [
        "fastness/peer/v1/peer.proto",
        "fastness/admin/v1/admin.proto",
        "fastness/lab/v1/lab.proto",
        "fastness/v1/kv.proto",
    ];
    let descriptors = protox::compile(files, [root])?;
    tonic_prost_build::configure().bytes(".").compile_fds(descriptors)?;
    Ok(())
}
