//! A link as a QR code: rows of runs, for one SVG path.

use std::fmt::Write;

use qrcodegen::{QrCode, QrCodeEcc};
use serde::Serialize;

/// The light border that scanners need around a code (ISO/IEC 18004), in modules.
const QUIET: i32 = 4;

/// A code that an SVG of `size` by `size` units shows by filling `path`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Qr {
    size: i32,
    path: String,
}

impl Qr {
    /// `None` when the text is longer than a code holds, 2,953 bytes.
    pub(crate) fn new(text: &str) -> Option<Self> {
        let code = QrCode::encode_text(text, QrCodeEcc::Low).ok()?;
        let mut path = String::new();
        for y in 0..code.size() {
            let mut x = 0;
            while x < code.size() {
                let run = (x..code.size()).take_while(|x| code.get_module(*x, y)).count() as i32;
                if run > 0 {
                    // Writing to a string does not fail.
                    let _ = write!(path, "M{} {}h{run}v1h-{run}z", x + QUIET, y + QUIET);
                }
                x += run.max(1);
            }
        }
        Some(Self { size: code.size() + 2 * QUIET, path })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_runs_paint_the_modules() {
        let text = "burdock://key@192.0.2.1:28736";
        let code = QrCode::encode_text(text, QrCodeEcc::Low).unwrap();
        let qr = Qr::new(text).unwrap();
        assert_eq!(qr.size, code.size() + 8);
        let mut painted = 0;
        for run in qr.path.split_terminator('z') {
            let numbers: Vec<i32> = run.split(['M', ' ', 'h', 'v']).filter_map(|number| number.parse().ok()).collect();
            let [x, y, len, 1, back] = numbers[..] else { panic!("{run}") };
            assert_eq!(back, -len);
            assert!((0..len).all(|step| code.get_module(x + step - QUIET, y - QUIET)));
            painted += len;
        }
        let size = code.size();
        let dark = (0..size * size).filter(|at| code.get_module(at % size, at / size)).count();
        assert_eq!(painted as usize, dark);
    }

    #[test]
    fn what_is_too_long_has_no_code() {
        assert_eq!(Qr::new(&"x".repeat(2_954)), None);
    }
}
