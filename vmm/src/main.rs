//! `moat-vmm`: one VM.
fn main() {}
