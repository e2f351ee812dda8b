//! Compiles `c/*.bpf.c`, and writes the skeleton that proves the layout. Off Linux, or without the feature `kernel`, there is nothing to do.

#[cfg(all(feature = "kernel", target_os = "linux"))]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    use std::env;
    use std::path::PathBuf;

    println!("cargo:rerun-if-changed=c");
    if env::var("CARGO_CFG_TARGET_OS")? != "linux" {
        return Ok(());
    }
    let out = PathBuf::from(env::var("OUT_DIR")?);
    for name in ["growth", "oom", "rss", "alloc", "faults", "watch"] {
        let mut arguments = vec!["-Wall", "-Wextra", "-Werror", "-Ic/compat"];
        if matches!(name, "alloc" | "faults" | "watch") {
            // atomic operations that give back what was there before, and comparisons of 32 bits: kernel 5.12
            arguments.push("-mcpu=v3");
        }
        let mut builder = libbpf_cargo::SkeletonBuilder::new();
        builder
            .source(format!("c/{name}.bpf.c"))
            .obj(out.join(format!("{name}.bpf.o")))
            .reference_obj(true)
            .clang_args(arguments);
        // the layout of all records is proven by the types of one object
        let built = match name {
            "growth" => builder.build_and_generate(out.join("growth.skel.rs")),
            _ => builder.build(),
        };
        // anyhow prints the whole chain, clang's own words included, only in its alternate form
        built.map_err(|error| format!("{error:#}"))?;
    }
    Ok(())
}

#[cfg(not(all(feature = "kernel", target_os = "linux")))]
fn main() {}
