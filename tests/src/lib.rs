//! What spans crates: the bodies of the fuzz targets, and what the tests share.

pub mod fuzz;
