//! The server in images.

fn main() {}
