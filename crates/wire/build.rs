//! Compiles `proto/` with protox, so that no `protoc` is needed.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = "../../proto";
    let files = [
        "fastness/peer/v1/peer.proto",
        "fastness/admin/v1/admin.proto",
        "fastness/lab/v1/lab.proto",
        "fastness/v1/kv.proto",
        "fastness/v1/watch.proto",
        "fastness/v1/topology.proto",
    ];
    // Not the folder: its page changes nothing.
    files.iter().for_each(|file| println!("cargo:rerun-if-changed={root}/{file}"));
    let mut compiler = protox::Compiler::new([root])?;
    compiler.include_source_info(true).include_imports(true).open_files(files)?;
    // For reflection, and for the test that compares them with what was released.
    let out = std::path::PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("descriptors.bin"), compiler.encode_file_descriptor_set())?;
    tonic_prost_build::configure()
        .codec_path("crate::codec::BoundedCodec")
        .bytes(".")
        .compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}
