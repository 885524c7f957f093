//! Burdock on the command line.
fn main() {}
