//! Reads the published vectors, for tests.

use data_encoding::HEXLOWER_PERMISSIVE;
use serde_json::Value;

pub(crate) fn load(name: &str) -> Value {
    let path = format!("{}/../tests/vectors/{name}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

pub(crate) fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// The bytes of a hex string; none if there is no such field.
pub(crate) fn bytes(value: &Value) -> Vec<u8> {
    HEXLOWER_PERMISSIVE.decode(value.as_str().unwrap_or_default().as_bytes()).unwrap()
}

pub(crate) fn array<const N: usize>(value: &Value) -> [u8; N] {
    bytes(value).try_into().unwrap()
}

/// All cases of a Wycheproof file, out of their groups.
pub(crate) fn wycheproof(file: &Value) -> Vec<&Value> {
    list(&file["testGroups"]).iter().flat_map(|group| list(&group["tests"])).collect()
}

pub(crate) fn has_flag(case: &Value, flag: &str) -> bool {
    list(&case["flags"]).iter().any(|found| found == flag)
}
