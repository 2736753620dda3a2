//! Has the crate built again when the built UI changes.
//!
//! Cargo takes a watched path that is missing for one that always changes, so the folder is made, empty, where it is not there
//! yet: it is the UI's build output and ignored by git. Where it cannot be made, the crate is built without a UI all the same.

fn main() {
    let dist = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../ui/dist");
    if let Err(error) = std::fs::create_dir_all(&dist) {
        println!("cargo:warning=no folder for the built UI: {error}");
    }
    println!("cargo:rerun-if-changed={}", dist.display());
}
