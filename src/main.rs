//! `moat`: the command line.
mod cli;
fn main() {}
