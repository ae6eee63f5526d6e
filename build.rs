//! Rebuilds the crate when a file is added to what is embedded: the compiler notices changed files by itself.

fn main() {
    println!("cargo:rerun-if-changed=python/src");
    println!("cargo:rerun-if-changed=templates");
}
