//! Compiles `c/*.bpf.c` and writes their skeletons. Off Linux, or without the feature `kernel`, there is nothing to do.

#[cfg(all(feature = "kernel", target_os = "linux"))]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    use std::env;
    use std::path::PathBuf;

    println!("cargo:rerun-if-changed=c");
    if env::var("CARGO_CFG_TARGET_OS")? != "linux" {
        return Ok(());
    }
    let out = PathBuf::from(env::var("OUT_DIR")?);
    libbpf_cargo::SkeletonBuilder::new()
        .source("c/growth.bpf.c")
        .obj(out.join("growth.bpf.o"))
        .reference_obj(true)
        .clang_args(["-Wall", "-Wextra", "-Werror"])
        .build_and_generate(out.join("growth.skel.rs"))
        // anyhow prints the whole chain, clang's own words included, only in its alternate form
        .map_err(|error| format!("{error:#}"))?;
    Ok(())
}

#[cfg(not(all(feature = "kernel", target_os = "linux")))]
fn main() {}
