//! The byte order mark that some editors and programs write before UTF-8 text. JSON must not begin with it (RFC 8259, 8.1),
//! so it is stripped before parsing.

/// U+FEFF in UTF-8.
const MARK: &[u8] = "\u{feff}".as_bytes();

/// Strips the mark from bytes.
pub fn without(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(MARK).unwrap_or(bytes)
}

/// Strips the mark from a string.
pub fn without_in(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    // row 32
    #[test]
    fn one_mark_is_left_out_at_the_beginning_alone() {
        let table = [
            ("\u{feff}{}", "{}"),
            ("{}", "{}"),
            ("", ""),
            ("\u{feff}", ""),
            ("{\u{feff}}", "{\u{feff}}"),
            (" \u{feff}{}", " \u{feff}{}"),
        ];
        for (text, expected) in table {
            assert_eq!(without(text.as_bytes()), expected.as_bytes(), "{text:?}");
            assert_eq!(without_in(text), expected, "{text:?}");
        }
        assert_eq!(without(b"\xef\xbb{"), b"\xef\xbb{", "half of a mark is none");
    }
}
