//! Text on its way to a terminal: made harmless, measured, cut. It must not know what the text means.

use crate::limits::CELL_COLUMNS_MAX;
pub(crate) use crate::text::shell::shell_word as shell;
use crate::text::{is_hidden, seen, shell::REPLACEMENT};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// One line of harmless text. Names and bodies are written by other agents: what a terminal would act on, or would not
/// show, does not reach it.
pub(crate) fn line(text: &str) -> String {
    let harmless = |(c, is_hidden): (char, bool)| match c {
        '\n' | '\t' => ' ',
        _ if is_hidden => REPLACEMENT,
        c => c,
    };
    seen(text).map(harmless).collect()
}

/// The lines of a longer text, harmless, with four spaces before each, so that no text can pass for what the program
/// itself says.
pub(crate) fn block(text: &str) -> String {
    let mut out = String::new();
    for row in text.trim_end_matches(['\n', '\r']).split('\n') {
        let row = row.strip_suffix('\r').unwrap_or(row).split('\t').map(line).collect::<Vec<_>>().join("\t");
        if !row.is_empty() {
            out.push_str("    ");
            out.push_str(&row);
        }
        out.push('\n');
    }
    out
}

/// JSON as the daemon sent it, with `\u` escapes for what a terminal would act on or not show. In valid JSON such characters stand only
/// within strings, except for the white space between tokens, which stays.
pub(crate) fn json(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if is_hidden(c) && !matches!(c, '\n' | '\r' | '\t') {
            for unit in c.encode_utf16(&mut [0; 2]) {
                out.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            out.push(c);
        }
    }
    out
}

/// A column's width on the terminal.
pub(crate) fn width(text: &str) -> usize {
    UnicodeWidthStr::width(text)
}

/// The text if it fits a cell, else its beginning and an ellipsis.
pub(crate) fn cut(text: &str) -> String {
    cut_to(text, CELL_COLUMNS_MAX)
}

/// The text if it fits so many columns, else its beginning and an ellipsis.
pub(crate) fn cut_to(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let mut taken = 0;
    let fits = |c: &char| {
        taken += c.width().unwrap_or(0);
        taken < columns
    };
    let mut out: String = text.chars().take_while(fits).collect();
    out.push('…');
    out
}

/// The path if it fits a cell, else an ellipsis and its end, which tells paths apart.
pub(crate) fn cut_front(text: &str) -> String {
    if width(text) <= CELL_COLUMNS_MAX {
        return text.to_owned();
    }
    let mut taken = 0;
    let fits = |c: &char| {
        taken += c.width().unwrap_or(0);
        taken < CELL_COLUMNS_MAX
    };
    let mut kept: Vec<char> = text.chars().rev().take_while(fits).collect();
    kept.push('…');
    kept.into_iter().rev().collect()
}

/// A colour, as the terminal's code for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ink {
    Plain,
    Bold,
    Green,
    Yellow,
    Red,
}

/// The text in a colour, if there are colours.
pub(crate) fn ink(text: &str, ink: Ink, colour: bool) -> String {
    let code = match ink {
        Ink::Plain => return text.to_owned(),
        Ink::Bold => "1",
        Ink::Green => "32",
        Ink::Yellow => "33",
        Ink::Red => "31",
    };
    if colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
}

/// A table: a bold head, columns as wide as their widest cell and two spaces between them. No space ends a line.
pub(crate) fn table(head: &[&str], rows: &[Vec<(String, Ink)>], colour: bool) -> String {
    let mut widths: Vec<usize> = head.iter().map(|name| width(name)).collect();
    for row in rows {
        for (column, (cell, _)) in widths.iter_mut().zip(row) {
            *column = (*column).max(width(cell));
        }
    }
    let head: Vec<_> = head.iter().map(|name| ((*name).to_owned(), Ink::Bold)).collect();
    let mut out = String::new();
    for row in std::iter::once(&head).chain(rows) {
        let last = row.iter().rposition(|(cell, _)| !cell.is_empty()).unwrap_or(0);
        for (at, (cell, colour_of_cell)) in row.iter().enumerate().take(last + 1) {
            out.push_str(&ink(cell, *colour_of_cell, colour && !cell.is_empty()));
            if at < last {
                out.push_str(&" ".repeat(widths[at] - width(cell) + 2));
            }
        }
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_steers_the_terminal() {
        let evil = "a\x1b[2Jb\u{9b}31mc\x7fd\u{202e}e\u{2066}f\u{2028}g\rh\0i\nj\tk";
        assert_eq!(line(evil), "a\u{fffd}[2Jb\u{fffd}31mc\u{fffd}d\u{fffd}e\u{fffd}f\u{fffd}g\u{fffd}h\u{fffd}i j k");
        for c in (0..=0x9f).chain(0x2028..=0x202e).chain(0x2066..=0x2069).filter_map(char::from_u32) {
            let text = c.to_string();
            let harmless = (' '..='~').contains(&c);
            assert_eq!(line(&text) == text, harmless, "{c:?}");
        }
        for c in ['\u{61c}', '\u{200b}', '\u{200f}', '\u{2060}', '\u{feff}', '\u{fffa}', '\u{e0041}'] {
            assert_eq!(line(&format!("a{c}b")), "a\u{fffd}b", "{c:?}");
        }
        // row 109
        for c in ['\u{fe00}', '\u{e0100}', '\u{180b}', '\u{1d173}', '\u{ffa0}', '\u{200d}'] {
            assert_eq!(line(&format!("a{c}b")), "a\u{fffd}b", "{c:?}");
        }
        assert_eq!(line("é 漢 🦀 👩\u{200d}💻"), "é 漢 🦀 👩\u{200d}💻", "ordinary text stays as it is");
    }

    // row 51
    #[test]
    fn a_body_is_shown_as_it_was_written() {
        for text in ["a && b 2>&1", "Vec<T>", "می\u{200c}خواهم", "👩\u{200d}💻 ❤\u{fe0f}", "&lt;b&gt;", "\tcc -o $@"]
        {
            assert_eq!(block(text), format!("    {text}\n"));
        }
        assert_eq!(block("all:\n\tcc $<"), "    all:\n    \tcc $<\n");
    }

    #[test]
    fn a_body_stays_within_its_indentation() {
        assert_eq!(block("one\r\n\ttwo\n\nid\x1b[A forged\n\n"), "    one\n    \ttwo\n\n    id\u{fffd}[A forged\n");
        assert_eq!(block("over\rwritten"), "    over\u{fffd}written\n");
    }

    #[test]
    fn json_keeps_its_meaning_and_loses_its_teeth() {
        let raw = "{\n\t\"a\": \"\u{9b}\u{202e}\x7f\u{2028}\u{e0041}é\\u001b\"}";
        let safe = json(raw);
        assert_eq!(safe, "{\n\t\"a\": \"\\u009b\\u202e\\u007f\\u2028\\udb40\\udc41é\\u001b\"}");
        let parse = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        assert_eq!(parse(&safe), parse(raw));
    }

    #[test]
    fn width_is_what_the_terminal_shows() {
        let widths = ["abc", "héé", "漢字", "e\u{301}", "🦀"].map(width);
        assert_eq!(widths, [3, 3, 4, 1, 2]);
        let long = "x".repeat(CELL_COLUMNS_MAX + 1);
        assert_eq!(width(&cut(&long)), CELL_COLUMNS_MAX);
        assert!(cut(&long).ends_with("x…"));
        assert_eq!(cut(&"x".repeat(CELL_COLUMNS_MAX)), "x".repeat(CELL_COLUMNS_MAX));
        let wide = format!("{}end", "漢".repeat(CELL_COLUMNS_MAX));
        assert!(cut_front(&wide).starts_with('…') && cut_front(&wide).ends_with("end"));
        assert!(width(&cut_front(&wide)) <= CELL_COLUMNS_MAX && width(&cut(&wide)) <= CELL_COLUMNS_MAX);
    }

    #[test]
    fn columns_line_up_whatever_is_in_them() {
        let row = |cells: [&str; 3]| cells.iter().map(|cell| ((*cell).to_owned(), Ink::Plain)).collect::<Vec<_>>();
        let rows = [row(["漢字", "1", ""]), row(["é", "", "z"])];
        assert_eq!(table(&["A", "BB", "C"], &rows, false), "A     BB  C\n漢字  1\né         z\n");
        let coloured = table(&["A"], &[vec![("x".to_owned(), Ink::Green)]], true);
        assert_eq!(coloured, "\x1b[1mA\x1b[0m\n\x1b[32mx\x1b[0m\n");
    }
}
