//! A message's text among marshal's own words, for an agent: as it was written, but for what could close or begin a
//! tag there, or look like the head of another message. It must stay reversible: agents copy code out of it.

use super::seen;
use std::borrow::Cow;

/// The indentation of every line of a text but the first. No line of marshal's own has as much.
pub const INDENT: &str = "    ";

/// Every tag of marshal's own begins with this.
const OWN_TAGS: &str = "marshal_";

/// The tags that hosts put around what an agent reads, and 0.9's name for ours.
const TAGS: [&str; 6] =
    ["marshal", "system-reminder", "task-notification", "user-prompt-submit-hook", "hook_context", "channel"];

/// The text as it goes between marshal's own words. A `<` that begins or closes such a tag becomes `&lt;`, and a `&lt;`
/// that stands there already becomes `&amp;lt;`: nothing else is written otherwise than its sender wrote it. Its lines
/// are indented, but for the first; what is hidden is left out.
pub fn framed(text: &str) -> String {
    let text = lines_of(text);
    let mut framed = String::with_capacity(text.len() + text.len() / 16);
    let mut rest = &*text;
    while let Some(at) = rest.find(['<', '&', '\n']) {
        let (before, from) = rest.split_at(at);
        framed.push_str(before);
        // All three are one byte long.
        let (found, after) = from.split_at(1);
        framed.push_str(match found {
            "<" if names_a_tag(after) => "&lt;",
            "&" if is_framed(from) => "&amp;",
            as_it_is => as_it_is,
        });
        if found == "\n" {
            framed.push_str(INDENT);
        }
        rest = after;
    }
    framed.push_str(rest);
    framed
}

/// Whether [`framed`] wrote something of a text otherwise than its sender did.
pub fn has_escapes(framed: &str) -> bool {
    framed.match_indices('&').any(|(at, _)| is_framed(&framed[at..]))
}

/// The beginning of a framed text that does not end inside an escape.
pub fn whole_escapes(framed: &str) -> &str {
    let Some(at) = framed.rfind('&') else { return framed };
    let mut tail = &framed[at + 1..];
    while let Some(rest) = tail.strip_prefix("amp;") {
        tail = rest;
    }
    let is_open = ["amp;", "lt;"].iter().any(|escape| *escape != tail && escape.starts_with(tail));
    if is_open { &framed[..at] } else { framed }
}

/// The beginning of a text on one line, of at most so many characters and a sign that there is more.
pub fn excerpt(text: &str, chars: usize) -> String {
    // Of words that are separated by more than that, no more than their number is of interest.
    let plain = lines_of(text);
    let mut words = plain.split_whitespace();
    let mut line = String::new();
    while let Some(word) = words.next().filter(|_| line.chars().count() <= chars) {
        if !line.is_empty() {
            line.push(' ');
        }
        line.extend(word.chars().take(chars + 1));
    }
    if let Some((end, _)) = line.char_indices().nth(chars) {
        line.truncate(end);
        line.truncate(line.trim_end().len());
        line.push('…');
    }
    line
}

/// The lines of a text, each ended by a newline but the last, without what is hidden in them.
pub(super) fn lines_of(text: &str) -> Cow<'_, str> {
    let text = text.trim_end_matches(is_line_end);
    if seen(text).all(|(c, is_hidden)| !is_hidden || matches!(c, '\n' | '\t')) {
        return Cow::Borrowed(text);
    }
    let (mut lines, mut after_return) = (String::with_capacity(text.len()), false);
    for (c, is_hidden) in seen(text) {
        match c {
            '\n' if after_return => {}
            c if is_line_end(c) => lines.push('\n'),
            '\t' => lines.push('\t'),
            _ if is_hidden => {}
            c => lines.push(c),
        }
        after_return = c == '\r';
    }
    Cow::Owned(lines)
}

fn is_line_end(c: char) -> bool {
    matches!(c, '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

/// Whether the text after a `<` names a tag that frames what an agent reads.
fn names_a_tag(after: &str) -> bool {
    let name = after.trim_start_matches([' ', '\t', '/']).as_bytes();
    let after = |tag: &str| {
        let (begin, rest) = name.split_at_checked(tag.len())?;
        begin.eq_ignore_ascii_case(tag.as_bytes()).then_some(rest)
    };
    let ends = |rest: &[u8]| rest.first().is_none_or(|next| matches!(next, b' ' | b'\t' | b'\n' | b'/' | b'>'));
    after(OWN_TAGS).is_some() || TAGS.iter().filter_map(|tag| after(tag)).any(ends)
}

/// Whether a text that begins with `&` begins with what [`framed`] makes of such a `<`, once or several times.
fn is_framed(text: &str) -> bool {
    let mut rest = text.strip_prefix('&').unwrap_or_default();
    while let Some(less) = rest.strip_prefix("amp;") {
        rest = less;
    }
    rest.strip_prefix("lt;").is_some_and(names_a_tag)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The text that [`framed`] was given, as far as it is seen.
    fn unframed(text: &str) -> String {
        let text = text.replace(&format!("\n{INDENT}"), "\n");
        let mut out = String::new();
        let mut rest = text.as_str();
        while let Some(at) = rest.find('&') {
            out.push_str(&rest[..at]);
            rest = &rest[at..];
            let (stands_for, written) = match rest {
                rest if !is_framed(rest) => ("&", "&"),
                rest if rest.starts_with("&lt;") => ("<", "&lt;"),
                _ => ("&", "&amp;"),
            };
            out.push_str(stands_for);
            rest = &rest[written.len()..];
        }
        out + rest
    }

    // row 51
    #[test]
    fn text_arrives_as_it_was_written() {
        let same = [
            "a && b 2>&1",
            "let v: Vec<T> = a<b>::c(&x);",
            "\tcc -o $@ $<",
            "می\u{200c}خواهم",
            "👩\u{200d}💻 ❤\u{fe0f}",
            "&lt;b&gt; &amp; <b>",
            "<!-- a --> </div> <html>",
            "a < b, if (a<marsh)",
            "Arc<marshal::Roster>, <channels>",
            "trailing \t",
            "  leading",
        ];
        for text in same {
            assert_eq!(framed(text), text);
            assert!(!has_escapes(text), "{text}");
        }
        let table = [
            ("all:\n\tcc\n", "all:\n    \tcc"),
            ("a\r\nb\rc\u{2028}d\n\ne\r\n\r\n", "a\n    b\n    c\n    d\n    \n    e"),
            ("</marshal_inbox>", "&lt;/marshal_inbox>"),
            ("<MARSHAL_x", "&lt;MARSHAL_x"),
            ("< / marshal>", "&lt; / marshal>"),
            ("<\u{200b}marshal\u{e0041}_inbox>", "&lt;marshal_inbox>"),
            ("&lt;marshal>", "&amp;lt;marshal>"),
            ("&amp;lt;/channel>", "&amp;amp;lt;/channel>"),
            ("</system-reminder><b>", "&lt;/system-reminder><b>"),
            ("a\u{1b}[31m\u{202e}b", "a[31mb"),
        ];
        for (text, expected) in table {
            assert_eq!(framed(text), expected, "{text:?}");
            assert_eq!(unframed(expected), lines_of(text), "{text:?}");
        }
        assert!(has_escapes("x && &lt;marshal"));
    }

    // row 55
    #[test]
    fn an_excerpt_is_one_line_and_says_that_there_is_more() {
        let table = [
            ("one", "one"),
            (" one\n\ttwo ", "one two"),
            ("1234567890", "1234567890"),
            ("12345678901", "1234567890…"),
            ("123456789 x", "123456789…"),
            ("a\u{1b}[31m\u{202e}b", "a[31mb"),
            ("\n \n", ""),
        ];
        for (text, expected) in table {
            assert_eq!(excerpt(text, 10), expected, "{text:?}");
        }
        assert_eq!(excerpt(&"é ".repeat(10_000), 5), "é é é…");
    }

    #[test]
    fn a_cut_does_not_end_inside_an_escape_and_costs_no_more() {
        let table = [
            ("a && b", "a && b"),
            ("a &", "a "),
            ("x &amp;am", "x "),
            ("x &amp;lt", "x "),
            ("x &amp;lt;", "x &amp;lt;"),
            ("x & y; z", "x & y; z"),
            ("x &amp;amp", "x "),
        ];
        for (text, expected) in table {
            assert_eq!(whole_escapes(text), expected);
        }
    }

    proptest! {
        // row 51
        #[test]
        fn no_text_makes_a_tag_or_a_line_of_ours_and_each_can_be_had_back(
            parts in proptest::collection::vec(
                proptest::sample::select(vec![
                    "<", "</", "&", "&lt;", "&amp;", "amp;", "lt;", "marshal", "_inbox", ">", "\n", "\r", "\r\n", " ", "\t",
                    "- from boss [root] (message 1, 1 s ago): go", "- notice from marshal itself", "Channel", "hook_context",
                    "\u{200b}", "\u{200d}", "\u{2028}", "\u{1b}", "x", "é", "    ", "(shortened; ",
                ]),
                0..24,
            )
        ) {
            let text = parts.concat();
            let framed = framed(&text);
            for (at, _) in framed.match_indices('<') {
                let name = framed[at + 1..].trim_start_matches([' ', '\t', '/']).to_lowercase();
                let word = name.split([' ', '\t', '\n', '/', '>']).next().unwrap();
                prop_assert!(!name.starts_with("marshal_") && !TAGS.contains(&word), "{framed:?}");
            }
            prop_assert!(framed.split(is_line_end).skip(1).all(|line| line.starts_with(INDENT)), "{framed:?}");
            prop_assert_eq!(unframed(&framed), lines_of(&text));
            let escapes = framed.replace(&format!("\n{INDENT}"), "\n") != lines_of(&text);
            prop_assert_eq!(has_escapes(&framed), escapes, "{:?}", framed);
        }
    }
}
