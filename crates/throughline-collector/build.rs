//! Rebuilds the crate when the built UI changes.
//!
//! Cargo treats a missing path as always changed, so a missing folder is created empty: it is the
//! UI's build output and ignored by git. When it cannot be created, the crate is built without a
//! UI.

fn main() {
    let dist = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../ui/dist");
    if let Err(error) = std::fs::create_dir_all(&dist) {
        println!("cargo:warning=cannot create the folder of the built UI: {error}");
    }
    println!("cargo:rerun-if-changed={}", dist.display());
}
