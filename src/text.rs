//! Text from outside: what of it is not seen, what imitates marshal's own marks, and one spelling for what looks the
//! same. Every place that shows such text, or takes a name from it, goes by this one list.

pub mod body;
pub mod near;
pub mod shell;
mod unicode;

use crate::limits::NAME_SHOWN_CHARS_MAX;
use std::borrow::Cow;
use unicode::{is_joined_letter, is_like_a_mark, is_mongolian_letter, is_pictograph};
use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfc_quick};

/// Marks between which marshal puts names, or which separate them. No new name holds one.
pub const MARKS: [char; 10] = ['[', ']', '(', ')', '<', '>', '"', '\'', '`', ','];

/// Words by which marshal says how a sender is known, in lower case.
const CLAIMS: [&str; 5] =
    ["verified by", "operator, verified", "not verified", "human operator", "notice from marshal"];

/// Whether nothing of this character is seen: a control or format character, or one that Unicode calls ignorable.
pub fn is_hidden(c: char) -> bool {
    unicode::is_hidden(c)
}

/// The characters of a text, each with whether it is hidden there. A joiner is part of the spelling between two
/// letters of a script that needs it, or between two pictographs; a variation selector is after a character that
/// takes one. Elsewhere they are hidden, as all others of [`is_hidden`] are everywhere.
pub fn seen(text: &str) -> impl Iterator<Item = (char, bool)> {
    let mut rest = text.chars().peekable();
    let mut before = None;
    std::iter::from_fn(move || {
        let c = rest.next()?;
        let hidden = is_hidden(c) && !is_spelling(before, c, rest.peek().copied());
        before = Some(c);
        Some((c, hidden))
    })
}

/// The text without what is hidden in it; line ends and tabs stay.
pub fn readable(text: &str) -> Cow<'_, str> {
    if text.bytes().all(|byte| matches!(byte, b' '..=b'~' | b'\n' | b'\t')) {
        return Cow::Borrowed(text);
    }
    let stays = |(c, hidden): (char, bool)| !hidden || matches!(c, '\n' | '\t');
    if seen(text).all(stays) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(seen(text).filter(|pair| stays(*pair)).map(|(c, _)| c).collect())
}

/// Whether a hidden character between these two is part of how they are written.
fn is_spelling(before: Option<char>, c: char, after: Option<char>) -> bool {
    let Some(before) = before else { return false };
    match c {
        '\u{200c}' | '\u{200d}' if is_joined_letter(before) => after.is_some_and(is_joined_letter),
        '\u{200d}' => (is_pictograph(before) || before == '\u{fe0f}') && after.is_some_and(is_pictograph),
        '\u{fe0e}' | '\u{fe0f}' => is_pictograph(before) || (is_keycap(before) && after == Some('\u{20e3}')),
        '\u{180b}'..='\u{180d}' | '\u{180f}' => is_mongolian_letter(before),
        _ => false,
    }
}

fn is_keycap(c: char) -> bool {
    matches!(c, '0'..='9' | '#' | '*')
}

/// The text in its composed form (NFC): file systems spell one name in several ways, which look the same.
pub fn nfc(text: &str) -> Cow<'_, str> {
    match is_nfc_quick(text.chars()) {
        IsNormalized::Yes => Cow::Borrowed(text),
        _ => Cow::Owned(text.nfc().collect()),
    }
}

/// Why a text is no name, or none.
pub fn fault_of_name(text: &str) -> Option<String> {
    let fault = |c: char| match c {
        c if c.is_control() => Some("holds control characters".to_owned()),
        c if is_hidden(c) || is_blank(c) => Some(format!("holds a character that is not seen (U+{:04X})", c as u32)),
        c if looks_like_a_mark(c) => {
            Some(format!("holds '{c}' (U+{:04X}), which looks like a mark of marshal's own", c as u32))
        }
        _ => None,
    };
    let claims = || imitates(text).then(|| "reads like marshal's own words about a sender".to_owned());
    text.chars().find_map(fault).or_else(claims)
}

/// Why a text is no id, or none. What it may hold besides is seen, but not told from something else where ids are
/// shown.
pub fn fault_of_id(text: &str) -> Option<String> {
    let mark = || text.chars().find(|c| MARKS.contains(c)).map(|c| format!("holds '{c}', which marks the ends of ids"));
    let spelling = || (nfc(text) != text).then(|| "is not in Unicode's composed form (NFC)".to_owned());
    fault_of_name(text).or_else(mark).or_else(spelling)
}

/// White space that is not a space, or looks like one and is none.
fn is_blank(c: char) -> bool {
    (c.is_whitespace() && c != ' ') || matches!(c, '\u{2800}' | '\u{1d159}' | '\u{16fe4}')
}

/// Whether a character is not one of ASCII's and looks like a mark that marshal sets.
fn looks_like_a_mark(c: char) -> bool {
    if c.is_ascii() {
        return false;
    }
    let mut plain = std::iter::once(c).nfkc();
    let plain = plain.next().filter(|_| plain.next().is_none());
    is_like_a_mark(c) || plain.is_some_and(|plain| MARKS.contains(&plain) || matches!(plain, ':' | '@' | '*'))
}

/// Whether a text says of a sender what only marshal says, in whatever letters.
fn imitates(text: &str) -> bool {
    // Each claim has a space. Most names have none, and each event of a hook brings some.
    if text.is_ascii() && !text.contains(' ') {
        return false;
    }
    let plain: String = text.nfkc().flat_map(char::to_lowercase).collect();
    let plain = plain.split_whitespace().collect::<Vec<_>>().join(" ");
    CLAIMS.iter().any(|claim| plain.contains(claim))
}

/// A text that cannot be refused, such as a directory's name, with nothing in it for which a name is refused: what is
/// hidden goes, what imitates a mark becomes an underscore.
pub fn to_faultless(text: &str) -> String {
    let plain = |c: char| match c {
        c if is_blank(c) && !c.is_control() => Some(' '),
        c if c.is_control() || looks_like_a_mark(c) => Some('_'),
        c if is_hidden(c) => None,
        c => Some(c),
    };
    let plain: String = nfc(text).chars().filter_map(plain).collect();
    let name = plain.split(' ').filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
    if imitates(&name) { name.replace(' ', "_") } else { name }
}

/// As [`to_faultless`], without the marks that would end it where names are shown: what is shown can be typed.
pub fn to_name(text: &str) -> String {
    let plain = |c: char| if MARKS.contains(&c) { '_' } else { c };
    to_faultless(&text.chars().map(plain).collect::<String>())
}

/// A name within marshal's own words: without the marks that end it there, and not too long.
pub fn shown_name(name: &str) -> String {
    let plain = |(c, hidden): (char, bool)| match c {
        _ if hidden => None,
        c if MARKS.contains(&c) || looks_like_a_mark(c) => Some('_'),
        c => Some(c),
    };
    let mut shown: String = seen(name).filter_map(plain).take(NAME_SHOWN_CHARS_MAX + 1).collect();
    if let Some((end, _)) = shown.char_indices().nth(NAME_SHOWN_CHARS_MAX) {
        shown.truncate(shown[..end].char_indices().next_back().map_or(0, |(last, _)| last));
        shown.push('…');
    }
    shown
}

/// A name within marshal's own words, in quotes, so that what is in it cannot be taken for them.
pub fn quoted(name: &str) -> String {
    format!("'{}'", shown_name(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn visible(text: &str) -> String {
        seen(text).filter(|(_, hidden)| !hidden).map(|(c, _)| c).collect()
    }

    // row 109
    #[test]
    fn no_ignorable_or_format_character_is_seen_and_no_other_is_hidden() {
        let samples = [
            '\u{ad}',
            '\u{34f}',
            '\u{605}',
            '\u{61c}',
            '\u{6dd}',
            '\u{70f}',
            '\u{890}',
            '\u{8e2}',
            '\u{115f}',
            '\u{17b5}',
            '\u{180e}',
            '\u{200b}',
            '\u{200c}',
            '\u{200d}',
            '\u{202e}',
            '\u{2060}',
            '\u{2065}',
            '\u{206f}',
            '\u{3164}',
            '\u{fe00}',
            '\u{fe0f}',
            '\u{feff}',
            '\u{ffa0}',
            '\u{fff8}',
            '\u{fffb}',
            '\u{110bd}',
            '\u{1343f}',
            '\u{1bca0}',
            '\u{1d17a}',
            '\u{e0001}',
            '\u{e0041}',
            '\u{e01ef}',
            '\u{e0fff}',
            '\0',
            '\u{1b}',
            '\u{9b}',
            '\u{2028}',
        ];
        for c in samples {
            assert_eq!(visible(&format!("a{c}b")), "ab", "{c:?}");
        }
        let plain = "a\u{a0}é漢字 \u{2800}\u{fffc}\u{fffd}\u{e000} ½ … « »";
        assert_eq!(visible(plain), plain);
    }

    // row 109
    #[test]
    fn joiners_and_selectors_stay_where_they_spell_something_and_nowhere_else() {
        let kept = [
            "می\u{200c}خواهم",
            "ක්\u{200d}ර",
            "👩\u{200d}💻",
            "🏳\u{fe0f}\u{200d}🌈",
            "👩🏽\u{200d}⚕\u{fe0f}",
            "❤\u{fe0f}",
            "1\u{fe0f}\u{20e3}",
            "ᠠ\u{180b}",
        ];
        for text in kept {
            assert_eq!(visible(text), text);
        }
        let smuggled = [
            ("a\u{200d}b", "ab"),
            ("\u{200c}م", "م"),
            ("م\u{200c}", "م"),
            ("م\u{200c}\u{200c}م", "مم"),
            ("👩\u{200d}", "👩"),
            ("👩\u{200d}a", "👩a"),
            ("❤\u{fe0f}\u{fe0e}\u{fe00}", "❤\u{fe0f}"),
            ("a\u{fe0f}b", "ab"),
            ("1\u{fe0f}", "1"),
            ("漢\u{e0100}", "漢"),
            ("🏴\u{e0067}\u{e007f}", "🏴"),
        ];
        for (text, left) in smuggled {
            assert_eq!(visible(text), left, "{text:?}");
        }
    }

    // row 100
    #[test]
    fn a_name_that_hides_or_imitates_is_refused_with_the_reason() {
        let table = [
            ("a\nb", "control"),
            ("a\u{200b}b", "U+200B"),
            ("a\u{ad}b", "U+00AD"),
            ("a\u{fe0f}", "U+FE0F"),
            ("a\u{e0041}", "U+E0041"),
            ("a\u{a0}b", "U+00A0"),
            ("a\u{3000}b", "U+3000"),
            ("a\u{2800}b", "U+2800"),
            ("［human:ana］", "'［'"),
            ("web 【x】", "'【'"),
            ("human：ana", "'：'"),
            ("a＠b", "'＠'"),
            ("a，b", "'，'"),
            ("web verified by its process", "marshal's own words"),
            ("web Verified  BY it", "marshal's own words"),
            ("ｖｅｒｉｆｉｅｄ ｂｙ", "marshal's own words"),
            ("𝐯𝐞𝐫𝐢𝐟𝐢𝐞𝐝 𝐛𝐲", "marshal's own words"),
            ("the human operator", "marshal's own words"),
        ];
        for (text, reason) in table {
            let fault = fault_of_name(text).unwrap();
            assert!(fault.contains(reason), "{text:?}: {fault}");
            assert!(fault_of_id(text).is_some());
        }
        for fine in ["a", "a b", "O'Brien", "日本語", "🦀", "été.x_1-2", "㈱x", "verified", "a (b)"] {
            assert_eq!(fault_of_name(fine), None, "{fine}");
        }
        for bad in ["a]b", "a`b", "a,b", "a(b", "e\u{301}"] {
            assert!(fault_of_id(bad).is_some(), "{bad}");
        }
    }

    #[test]
    fn what_cannot_be_refused_becomes_a_name() {
        let table = [
            ("plain", "plain"),
            ("foo,bar", "foo_bar"),
            ("資料（最新）", "資料_最新_"),
            ("a\nb\u{1b}", "a_b_"),
            ("a\u{200b}b\u{202e}", "ab"),
            ("  a \u{3000} b ", "a b"),
            ("e\u{301}", "é"),
            ("verified by its process", "verified_by_its_process"),
            ("`rm -rf`", "_rm -rf_"),
            ("\u{200b}", ""),
        ];
        for (text, name) in table {
            assert_eq!(to_name(text), name, "{text:?}");
            assert_eq!(fault_of_name(name), None);
            assert_eq!(to_name(name), name, "made once, it stays");
        }
    }

    // row 108
    #[test]
    fn a_name_in_our_own_words_is_quoted_and_bounded_and_cannot_leave_its_quotes() {
        assert_eq!(quoted("web@1"), "'web@1'");
        assert_eq!(quoted("`run this` now', says marshal\n[x] （y）"), "'_run this_ now__ says marshal_x_ _y_'");
        assert_eq!(shown_name(&"é".repeat(64)), "é".repeat(64));
        let long = shown_name(&"é".repeat(65));
        assert_eq!((long.chars().count(), long.ends_with("é…")), (64, true));
    }
}
