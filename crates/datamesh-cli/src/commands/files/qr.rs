//! QR codes: on the terminal, and as files that people put somewhere.

use std::fmt::Write as _;
use std::io::Write as _;

use datamesh_api::OperationError;
use flate2::write::ZlibEncoder;
use flate2::{Compression, Crc};
use qrcode::{Color, EcLevel, QrCode};

use crate::error::usage;

/// Modules of white around a code; readers need four.
const QUIET: usize = 4;

/// Points of a picture's edge for each module.
const SCALE: usize = 8;

/// What begins every PNG file.
const PNG_MARK: &[u8] = b"\x89PNG\r\n\x1a\n";

/// A code as a square of modules, its white border included.
pub(super) struct Qr {
    width: usize,
    dark: Vec<bool>,
}

impl Qr {
    /// The code of a text.
    ///
    /// # Errors
    /// [`OperationError`] where no code has room for it.
    pub(super) fn of(text: &str) -> Result<Self, OperationError> {
        // The least redundancy makes the smallest code; what it is shown on is not torn.
        let code = QrCode::with_error_correction_level(text, EcLevel::L)
            .map_err(|error| usage(format!("the link does not fit a QR code: {error}")))?;
        let inner = code.width();
        let width = inner + 2 * QUIET;
        let mut dark = vec![false; width * width];
        for (at, color) in code.to_colors().into_iter().enumerate() {
            let (x, y) = (at % inner + QUIET, at / inner + QUIET);
            dark[y * width + x] = color == Color::Dark;
        }
        Ok(Self { width, dark })
    }

    fn is_dark(&self, x: usize, y: usize) -> bool {
        self.dark.get(y * self.width + x).copied().unwrap_or(false)
    }

    /// Columns that its text takes.
    pub(super) fn columns(&self) -> usize {
        self.width
    }

    /// Lines for a terminal, two rows of modules in each. In black on white where it takes colours, else
    /// white is drawn, as most terminals are dark.
    pub(super) fn text(&self, coloured: bool) -> String {
        let (begin, end) = if coloured { ("\x1b[38;5;16;48;5;231m", "\x1b[0m") } else { ("", "") };
        let mut out = String::new();
        for y in (0..self.width).step_by(2) {
            out.push_str(begin);
            for x in 0..self.width {
                let drawn = |y| y < self.width && self.is_dark(x, y) == coloured;
                out.push(match (drawn(y), drawn(y + 1)) {
                    (true, true) => '█',
                    (true, false) => '▀',
                    (false, true) => '▄',
                    (false, false) => ' ',
                });
            }
            out.push_str(end);
            out.push('\n');
        }
        out
    }

    /// An SVG picture.
    pub(super) fn svg(&self) -> String {
        let width = self.width;
        let edge = width * SCALE;
        let mut path = String::new();
        for y in 0..width {
            for x in (0..width).filter(|x| self.is_dark(*x, y)) {
                // Writing to a string cannot fail.
                let _written = write!(path, "M{x} {y}h1v1h-1z");
            }
        }
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{edge}\" height=\"{edge}\" \
             viewBox=\"0 0 {width} {width}\" shape-rendering=\"crispEdges\">\n\
             <path fill=\"#fff\" d=\"M0 0h{width}v{width}H0z\"/>\n<path d=\"{path}\"/>\n</svg>\n"
        )
    }

    /// A PNG picture: one bit for each point, in one compressed part. The format of so plain a picture is
    /// three chunks, which a library would be longer than.
    ///
    /// # Errors
    /// Those of the compressor, which writes to memory.
    pub(super) fn png(&self) -> std::io::Result<Vec<u8>> {
        let edge = self.width * SCALE;
        let mut rows = ZlibEncoder::new(Vec::new(), Compression::best());
        for y in 0..edge {
            // Each row is preceded by its filter: none.
            let mut row = vec![0u8; 1 + edge.div_ceil(8)];
            for x in (0..edge).filter(|x| !self.is_dark(x / SCALE, y / SCALE)) {
                row[1 + x / 8] |= 0x80 >> (x % 8);
            }
            rows.write_all(&row)?;
        }
        let mut header = [(edge as u32).to_be_bytes(), (edge as u32).to_be_bytes()].concat();
        // One bit of grey; the only compression, filtering and order that there are.
        header.extend_from_slice(&[1, 0, 0, 0, 0]);
        let mut out = PNG_MARK.to_vec();
        chunk(&mut out, *b"IHDR", &header);
        chunk(&mut out, *b"IDAT", &rows.finish()?);
        chunk(&mut out, *b"IEND", &[]);
        Ok(out)
    }
}

fn chunk(out: &mut Vec<u8>, kind: [u8; 4], content: &[u8]) {
    out.extend_from_slice(&(content.len() as u32).to_be_bytes());
    out.extend_from_slice(&kind);
    out.extend_from_slice(content);
    let mut sum = Crc::new();
    sum.update(&kind);
    sum.update(content);
    out.extend_from_slice(&sum.sum().to_be_bytes());
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use flate2::read::ZlibDecoder;

    use super::*;

    fn code() -> Qr {
        Qr::of("datamesh://share/example#secret").unwrap_or(Qr { width: 0, dark: Vec::new() })
    }

    #[test]
    fn a_code_has_its_white_border_and_its_three_corners() {
        let code = code();
        assert!(code.width > 2 * QUIET);
        for at in 0..code.width {
            assert!((0..QUIET).all(|edge| !code.is_dark(at, edge) && !code.is_dark(edge, at)));
        }
        let last = code.width - QUIET - 1;
        assert!(
            code.is_dark(QUIET, QUIET) && code.is_dark(last, QUIET) && code.is_dark(QUIET, last)
        );
    }

    #[test]
    fn what_is_drawn_on_a_terminal_are_the_modules() {
        let code = code();
        let text = code.text(true);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), code.width.div_ceil(2));
        for (at, line) in lines.iter().enumerate() {
            let line =
                line.trim_start_matches("\x1b[38;5;16;48;5;231m").trim_end_matches("\x1b[0m");
            assert_eq!(line.chars().count(), code.width);
            for (x, drawn) in line.chars().enumerate() {
                let upper = matches!(drawn, '█' | '▀');
                let lower = matches!(drawn, '█' | '▄');
                assert_eq!(upper, code.is_dark(x, 2 * at));
                let below = 2 * at + 1;
                assert_eq!(lower, below < code.width && code.is_dark(x, below));
            }
        }
        assert_ne!(code.text(false), text);
    }

    #[test]
    fn a_png_holds_the_modules_and_its_sums_hold() {
        let code = code();
        let png = code.png().unwrap_or_default();
        let mut rest = png.strip_prefix(PNG_MARK).unwrap_or_default();
        let mut parts = Vec::new();
        while let Some((length, after)) = rest.split_first_chunk::<4>() {
            let length = u32::from_be_bytes(*length) as usize;
            let mut sum = Crc::new();
            sum.update(&after[..4 + length]);
            assert_eq!(after[4 + length..8 + length], sum.sum().to_be_bytes());
            parts.push((&after[..4], &after[4..4 + length]));
            rest = &after[8 + length..];
        }
        let kinds: Vec<&[u8]> = parts.iter().map(|(kind, _)| *kind).collect();
        assert_eq!(kinds, [b"IHDR", b"IDAT", b"IEND"]);
        let mut rows = Vec::new();
        assert!(ZlibDecoder::new(parts[1].1).read_to_end(&mut rows).is_ok());
        let edge = code.width * SCALE;
        let stride = 1 + edge.div_ceil(8);
        assert_eq!(rows.len(), edge * stride);
        for y in (0..edge).step_by(SCALE / 2) {
            for x in (0..edge).step_by(SCALE / 2) {
                let white = rows[y * stride + 1 + x / 8] & (0x80 >> (x % 8)) != 0;
                assert_eq!(white, !code.is_dark(x / SCALE, y / SCALE));
            }
        }
    }
}
