//! Looking for words in texts, whatever their case. It must not know whose texts they are.

use crate::error::RequestError;
use crate::limits::{SEARCH_WORDS_MAX, TEXT_BYTES_MAX};

/// The words that are looked for, in lower case.
#[derive(Debug, Default)]
pub(super) struct Words(Vec<String>);

impl Words {
    /// The words of a text.
    pub(super) fn of(text: &str) -> Result<Self, RequestError> {
        super::validate::bounded("what is looked for", text, TEXT_BYTES_MAX)?;
        let words: Vec<String> = text.to_lowercase().split_whitespace().map(str::to_owned).collect();
        match words.len() {
            0 => Err(RequestError::invalid("what is looked for has no words")),
            1..=SEARCH_WORDS_MAX => Ok(Self(words)),
            more => Err(RequestError::invalid(format!("{more} words are looked for; at most {SEARCH_WORDS_MAX} are"))),
        }
    }

    /// Whether all of them are in these texts, each in one of them.
    pub(super) fn are_in(&self, texts: &[&str]) -> bool {
        self.0.iter().all(|word| texts.iter().any(|text| holds(text, word)))
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

/// Whether a text holds a word, which is in lower case.
fn holds(text: &str, word: &str) -> bool {
    if !text.is_ascii() {
        return text.to_lowercase().contains(word);
    }
    // Most texts are, and need not be copied.
    let (text, word) = (text.as_bytes(), word.as_bytes());
    let first = word.first().copied().unwrap_or_default();
    text.windows(word.len()).any(|at| at[0].to_ascii_lowercase() == first && at.eq_ignore_ascii_case(word))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn words_are_found_in_any_case_and_any_of_the_texts() {
        let found = |query: &str, texts: &[&str]| Words::of(query).unwrap().are_in(texts);
        assert!(found("SCHEMA merged", &["The schema is Merged.", "web"]));
        assert!(found("web schema", &["The schema", "web@1234"]), "one word in each text");
        assert!(!found("schema gone", &["The schema", "web"]));
        assert!(found("straße ÉCOLE", &["die STRASSE, die Straße", "école"]));
        assert!(found("chem", &["schema"]), "within a word");
        assert!(!found("toolong", &["tool"]) && !found("x", &[""]));
        for bad in ["", " \t", &"a ".repeat(SEARCH_WORDS_MAX + 1), &"x".repeat(TEXT_BYTES_MAX + 1)] {
            assert!(Words::of(bad).is_err(), "{bad:.20}");
        }
    }

    proptest! {
        #[test]
        fn it_is_the_obvious_search(text in "[aAbBéÉ ]{0,12}", query in "[aAbBéÉ]{1,3}") {
            let expected = text.to_lowercase().contains(&query.to_lowercase());
            prop_assert_eq!(Words::of(&query).unwrap().are_in(&[&text]), expected);
        }
    }
}
