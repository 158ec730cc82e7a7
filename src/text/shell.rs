//! Words for a shell: as it takes them back. It must not know any command.

use super::seen;

/// Stands for a character that nobody would see.
pub const REPLACEMENT: char = '\u{FFFD}';

/// A word as a shell takes it back, on one line of harmless text.
pub fn shell_word(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "@._:/+-".contains(c);
    match !word.is_empty() && word.chars().all(plain) {
        true => word.to_owned(),
        false => {
            let quoted = format!("'{}'", word.replace('\'', r"'\''"));
            seen(&quoted).map(|(c, is_hidden)| if is_hidden { REPLACEMENT } else { c }).collect()
        }
    }
}

/// This program as a person or an agent calls it who is to reach the daemon of this state directory.
pub fn program_at(state_dir: &str) -> String {
    format!("marshal --state-dir {}", shell_word(state_dir))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_come_back_from_a_shell_as_they_were() {
        let words = ["a", "a@b:c/d.e", "a b", "", "it's", "a\u{1b}b"].map(shell_word);
        assert_eq!(words, ["a", "a@b:c/d.e", "'a b'", "''", r"'it'\''s'", "'a\u{fffd}b'"]);
        assert_eq!(program_at("/s/m"), "marshal --state-dir /s/m");
    }
}
