//! Characters by what readers see of them, from the Unicode character database (version 16).

/// Code points with the property Default_Ignorable_Code_Point, or of the general category Cc, Cf, Zl or Zp: nothing
/// of them is seen, yet they change the text around them or make two texts differ.
const HIDDEN: [(char, char); 27] = [
    ('\0', '\u{1f}'),
    ('\u{7f}', '\u{9f}'),
    ('\u{ad}', '\u{ad}'),
    ('\u{34f}', '\u{34f}'),
    ('\u{600}', '\u{605}'),
    ('\u{61c}', '\u{61c}'),
    ('\u{6dd}', '\u{6dd}'),
    ('\u{70f}', '\u{70f}'),
    ('\u{890}', '\u{891}'),
    ('\u{8e2}', '\u{8e2}'),
    ('\u{115f}', '\u{1160}'),
    ('\u{17b4}', '\u{17b5}'),
    ('\u{180b}', '\u{180f}'),
    ('\u{200b}', '\u{200f}'),
    ('\u{2028}', '\u{202e}'),
    ('\u{2060}', '\u{206f}'),
    ('\u{3164}', '\u{3164}'),
    ('\u{fe00}', '\u{fe0f}'),
    ('\u{feff}', '\u{feff}'),
    ('\u{ffa0}', '\u{ffa0}'),
    ('\u{fff0}', '\u{fffb}'),
    ('\u{110bd}', '\u{110bd}'),
    ('\u{110cd}', '\u{110cd}'),
    ('\u{13430}', '\u{1343f}'),
    ('\u{1bca0}', '\u{1bca3}'),
    ('\u{1d173}', '\u{1d17a}'),
    ('\u{e0000}', '\u{e0fff}'),
];

/// Code points of the general category Ps or Pe outside ASCII, and what else looks like a colon.
const LIKE_MARKS: [(char, char); 34] = [
    ('\u{f3a}', '\u{f3d}'),
    ('\u{169b}', '\u{169c}'),
    ('\u{201a}', '\u{201a}'),
    ('\u{201e}', '\u{201e}'),
    ('\u{2045}', '\u{2046}'),
    ('\u{207d}', '\u{207e}'),
    ('\u{208d}', '\u{208e}'),
    ('\u{2236}', '\u{2236}'),
    ('\u{2308}', '\u{230b}'),
    ('\u{2329}', '\u{232a}'),
    ('\u{2768}', '\u{2775}'),
    ('\u{27c5}', '\u{27c6}'),
    ('\u{27e6}', '\u{27ef}'),
    ('\u{2983}', '\u{2998}'),
    ('\u{29d8}', '\u{29db}'),
    ('\u{29fc}', '\u{29fd}'),
    ('\u{2e22}', '\u{2e29}'),
    ('\u{2e42}', '\u{2e42}'),
    ('\u{2e55}', '\u{2e5c}'),
    ('\u{3008}', '\u{3011}'),
    ('\u{3014}', '\u{301b}'),
    ('\u{301d}', '\u{301f}'),
    ('\u{a789}', '\u{a789}'),
    ('\u{fd3e}', '\u{fd3f}'),
    ('\u{fe17}', '\u{fe18}'),
    ('\u{fe35}', '\u{fe44}'),
    ('\u{fe47}', '\u{fe48}'),
    ('\u{fe59}', '\u{fe5e}'),
    ('\u{ff08}', '\u{ff09}'),
    ('\u{ff3b}', '\u{ff3b}'),
    ('\u{ff3d}', '\u{ff3d}'),
    ('\u{ff5b}', '\u{ff5b}'),
    ('\u{ff5d}', '\u{ff5d}'),
    ('\u{ff5f}', '\u{ff63}'),
];

/// Blocks of the scripts whose spelling needs the joiners: Arabic to Mongolian, and what was added to them.
const JOINED: [(char, char); 8] = [
    ('\u{600}', '\u{8ff}'),
    ('\u{900}', '\u{109f}'),
    ('\u{1780}', '\u{18af}'),
    ('\u{1900}', '\u{1cff}'),
    ('\u{a800}', '\u{abff}'),
    ('\u{fb50}', '\u{fdff}'),
    ('\u{10a00}', '\u{11fff}'),
    ('\u{1e900}', '\u{1e95f}'),
];

/// Blocks that hold the pictographs, of which emoji are made, and the symbols beside them.
const PICTOGRAPHS: [(char, char); 16] = [
    ('\u{a9}', '\u{a9}'),
    ('\u{ae}', '\u{ae}'),
    ('\u{203c}', '\u{203c}'),
    ('\u{2049}', '\u{2049}'),
    ('\u{2122}', '\u{2122}'),
    ('\u{2139}', '\u{2139}'),
    ('\u{2190}', '\u{21ff}'),
    ('\u{2300}', '\u{23ff}'),
    ('\u{24c2}', '\u{24c2}'),
    ('\u{25a0}', '\u{27bf}'),
    ('\u{2900}', '\u{297f}'),
    ('\u{2b00}', '\u{2bff}'),
    ('\u{3030}', '\u{303d}'),
    ('\u{3297}', '\u{3297}'),
    ('\u{3299}', '\u{3299}'),
    ('\u{1f000}', '\u{1faff}'),
];

fn is_in(ranges: &[(char, char)], c: char) -> bool {
    let at = ranges.partition_point(|(_, last)| *last < c);
    ranges.get(at).is_some_and(|(first, _)| *first <= c)
}

/// Whether nothing of this character is seen, wherever it stands.
pub(super) fn is_hidden(c: char) -> bool {
    !(' '..='~').contains(&c) && is_in(&HIDDEN, c)
}

/// Whether this character looks like one of the marks between which marshal puts names.
pub(super) fn is_like_a_mark(c: char) -> bool {
    !c.is_ascii() && is_in(&LIKE_MARKS, c)
}

/// Whether this is a letter, or a sign on one, of a script that is spelled with joiners.
pub(super) fn is_joined_letter(c: char) -> bool {
    !c.is_ascii() && is_in(&JOINED, c) && !is_hidden(c)
}

/// Whether a Mongolian variation selector can follow.
pub(super) fn is_mongolian_letter(c: char) -> bool {
    ('\u{1820}'..='\u{18aa}').contains(&c)
}

/// Whether this is a pictograph, or the skin colour of one.
pub(super) fn is_pictograph(c: char) -> bool {
    !c.is_ascii() && is_in(&PICTOGRAPHS, c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ranges_are_sorted_and_as_many_as_the_database_has() {
        for ranges in [&HIDDEN[..], &LIKE_MARKS, &JOINED, &PICTOGRAPHS] {
            assert!(ranges.iter().all(|(first, last)| first <= last));
            assert!(ranges.windows(2).all(|two| two[0].1 < two[1].0), "{ranges:x?}");
        }
        let all = |is: fn(char) -> bool| ('\0'..=char::MAX).filter(|c| is(*c)).count();
        assert_eq!(all(is_hidden), 4273);
        assert_eq!(all(|c| c.is_control() && !is_hidden(c)), 0);
        assert_eq!(all(|c| is_hidden(c) && (c.is_alphanumeric() && !('\u{115f}'..='\u{ffa0}').contains(&c))), 0);
    }
}
