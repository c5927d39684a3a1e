//! Everything through the real command line.
fn main() {}
