//! The word that somebody most likely meant who typed another one. It must not know what the words mean.

/// Characters of a word that are compared. Longer words are no typing errors of ours.
const COMPARED_CHARS_MAX: usize = 32;

/// The word nearest to `typed`: one that begins with it, or that differs in one letter out of three at most.
pub fn nearest<'a>(typed: &str, words: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let typed = typed.to_lowercase();
    let allowed = ((typed.chars().count() + 1) / 3).min(2);
    let close = words.into_iter().map(|word| {
        let begins = typed.len() >= 2 && word.starts_with(&typed);
        (if begins { 0 } else { distance(&typed, &word.to_lowercase()) }, word)
    });
    let (distance, word) = close.min_by_key(|(distance, _)| *distance)?;
    (distance <= allowed).then_some(word)
}

/// How many letters must be added, dropped, replaced or swapped with their neighbour to make `a` into `b`.
fn distance(a: &str, b: &str) -> usize {
    let compared = |word: &str| word.chars().take(COMPARED_CHARS_MAX).collect::<Vec<char>>();
    let (a, b) = (compared(a), compared(b));
    let mut rows: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let same = usize::from(a[i - 1] != b[j - 1]);
            let mut least = (rows[i - 1][j] + 1).min(row[j - 1] + 1).min(rows[i - 1][j - 1] + same);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                least = least.min(rows[i - 2][j - 2] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    // row 57
    #[test]
    fn a_word_is_near_if_it_is_mistyped_and_not_if_it_is_another_one() {
        let words = ["ls", "log", "send", "inbox", "outbox", "history", "messageIds"];
        let table = [
            ("sned", Some("send")),
            ("sends", Some("send")),
            ("hist", Some("history")),
            ("outbx", Some("outbox")),
            ("lgo", Some("log")),
            ("Inbox", Some("inbox")),
            ("messageids", Some("messageIds")),
            ("message_ids", Some("messageIds")),
            ("foo", None),
            ("read", None),
            ("list", None),
            ("l", None),
            ("x", None),
            ("", None),
        ];
        for (typed, expected) in table {
            assert_eq!(nearest(typed, words), expected, "{typed}");
        }
    }
}
