//! Reads a request body as it arrives, by its length or in chunks (RFC 9112, 7.1). Pure: bytes in, complete or not out. It
//! accepts nothing that the RFC forbids, and keeps no more bytes than its bounds allow.

use super::head::bad_body;
use super::respond::Refusal;
use crate::limits::{CHUNK_FRAMING_BYTES_MAX, CHUNK_LINE_BYTES_MAX, HEAD_HEADERS_MAX, TRAILER_BYTES_MAX};

/// The end of a body, as its head announces it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// A number of bytes.
    Length(usize),
    /// The last chunk, which is empty.
    Chunked,
}

/// The bounds of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bounds {
    /// Bytes read at most.
    pub(super) taken_max: usize,
    /// Bytes kept at most, from the beginning. The rest is read and dropped.
    pub(super) kept_max: usize,
    /// The refusal of a longer body.
    pub(super) too_large: Refusal,
}

/// A body under way.
#[derive(Debug)]
pub(super) struct Body {
    framing: Reading,
    bounds: Bounds,
    taken: usize,
    kept: Vec<u8>,
}

#[derive(Debug)]
enum Reading {
    Length { left: usize },
    Chunks(Chunks),
}

impl Body {
    pub(super) fn new(framing: Framing, bounds: Bounds) -> Self {
        let framing = match framing {
            Framing::Length(left) => Reading::Length { left },
            Framing::Chunked => Reading::Chunks(Chunks::default()),
        };
        Self { framing, bounds, taken: 0, kept: Vec::new() }
    }

    /// Takes the next bytes. Once the body is complete, returns how many of them lie behind its end.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Result<Option<usize>, Refusal> {
        let Self { framing, bounds, taken, kept } = self;
        let mut keep = |content: &[u8]| {
            *taken += content.len();
            if *taken > bounds.taken_max {
                return Err(bounds.too_large);
            }
            let room = bounds.kept_max - kept.len();
            kept.extend_from_slice(&content[..content.len().min(room)]);
            Ok(())
        };
        match framing {
            Reading::Length { left } => {
                let own = bytes.len().min(*left);
                *left -= own;
                keep(&bytes[..own])?;
                Ok((*left == 0).then_some(bytes.len() - own))
            }
            Reading::Chunks(chunks) => chunks.feed(bytes, &mut keep),
        }
    }

    /// Returns the kept bytes, and `true` if others were dropped.
    pub(super) fn into_kept(self) -> (Vec<u8>, bool) {
        let is_cut = self.taken > self.kept.len();
        (self.kept, is_cut)
    }

    /// Bytes held in memory.
    pub(super) fn held_bytes(&self) -> usize {
        self.kept.len()
    }
}

/// The state of a chunked body. The framing has a bound of its own, because each byte of content can come in its own chunk.
#[derive(Debug, Default)]
struct Chunks {
    place: Place,
    framing_bytes: usize,
}

#[derive(Debug)]
enum Place {
    /// The line before a chunk.
    Size(SizeLine),
    /// The content of a chunk.
    Data { left: usize },
    /// The line end behind a chunk.
    DataEnd { has_return: bool },
    /// The header lines behind the last chunk.
    Trailer(Vec<u8>),
}

impl Default for Place {
    fn default() -> Self {
        Self::Size(SizeLine::default())
    }
}

const BAD_CHUNK: Refusal = bad_body(400, "bad_chunk", "The chunks of the body are not well-formed.");
const TOO_MANY_CHUNKS: Refusal =
    bad_body(413, "too_many_chunks", "The body's chunks are too small: their frames take more than 256 KiB.");
const _: () = assert!(CHUNK_FRAMING_BYTES_MAX == 256 * 1024, "the message says this number");

impl Chunks {
    fn feed(
        &mut self,
        mut bytes: &[u8],
        keep: &mut impl FnMut(&[u8]) -> Result<(), Refusal>,
    ) -> Result<Option<usize>, Refusal> {
        while let [first, rest @ ..] = bytes {
            if let Place::Data { left } = &mut self.place {
                let own = bytes.len().min(*left);
                keep(&bytes[..own])?;
                bytes = &bytes[own..];
                *left -= own;
                if *left == 0 {
                    self.place = Place::DataEnd { has_return: false };
                }
                continue;
            }
            bytes = rest;
            self.framing_bytes += 1;
            if self.framing_bytes > CHUNK_FRAMING_BYTES_MAX {
                return Err(TOO_MANY_CHUNKS);
            }
            if self.frame(*first)? {
                return Ok(Some(bytes.len()));
            }
        }
        Ok(None)
    }

    /// Takes one byte of framing. Returns `true` at the end of the body.
    fn frame(&mut self, byte: u8) -> Result<bool, Refusal> {
        match &mut self.place {
            Place::Size(line) => match line.feed(byte)? {
                None => {}
                Some(0) => self.place = Place::Trailer(Vec::new()),
                Some(left) => self.place = Place::Data { left },
            },
            Place::DataEnd { has_return: has_return @ false } if byte == b'\r' => *has_return = true,
            Place::DataEnd { has_return: true } if byte == b'\n' => self.place = Place::default(),
            Place::Trailer(lines) => return end_of_trailer(lines, byte),
            // `feed` takes the content itself.
            Place::DataEnd { .. } | Place::Data { .. } => return Err(BAD_CHUNK),
        }
        Ok(false)
    }
}

/// A line such as `1f;name=value`. Extensions are checked and ignored.
#[derive(Debug, Default)]
struct SizeLine {
    bytes: usize,
    size: usize,
    has_extension: bool,
    has_return: bool,
}

impl SizeLine {
    /// Takes one byte. Returns the size at the end of the line.
    fn feed(&mut self, byte: u8) -> Result<Option<usize>, Refusal> {
        if self.has_return {
            return if byte == b'\n' { Ok(Some(self.size)) } else { Err(BAD_CHUNK) };
        }
        let is_first = self.bytes == 0;
        self.bytes += 1;
        match (byte, char::from(byte).to_digit(16)) {
            _ if self.bytes > CHUNK_LINE_BYTES_MAX => return Err(BAD_CHUNK),
            (_, Some(digit)) if !self.has_extension => {
                let size = self.size.checked_mul(16).and_then(|size| size.checked_add(digit as usize));
                self.size = size.ok_or(BAD_CHUNK)?;
            }
            _ if is_first => return Err(BAD_CHUNK),
            (b'\r', _) => self.has_return = true,
            (b';', _) => self.has_extension = true,
            (b' ' | b'\t' | 0x21..=0x7e | 0x80.., _) if self.has_extension => {}
            _ => return Err(BAD_CHUNK),
        }
        Ok(None)
    }
}

/// Takes one byte of the trailer. Returns `true` at the empty line that ends it. Trailer fields must be well-formed and are
/// dropped: admission has not checked them.
fn end_of_trailer(lines: &mut Vec<u8>, byte: u8) -> Result<bool, Refusal> {
    let follows_return = lines.last() == Some(&b'\r');
    if (byte == b'\n') != follows_return || byte == 0 || lines.len() >= TRAILER_BYTES_MAX {
        return Err(BAD_CHUNK);
    }
    lines.push(byte);
    if lines.as_slice() == b"\r\n" {
        return Ok(true);
    }
    if !lines.ends_with(b"\r\n\r\n") {
        return Ok(false);
    }
    let mut headers = [httparse::EMPTY_HEADER; HEAD_HEADERS_MAX];
    match httparse::parse_headers(lines, &mut headers) {
        Ok(httparse::Status::Complete((length, _))) if length == lines.len() => Ok(true),
        _ => Err(BAD_CHUNK),
    }
}

#[cfg(test)]
#[path = "body_tests.rs"]
mod tests;
