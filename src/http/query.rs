//! The query of a request target: pairs of percent-encoded UTF-8 text. It must not guess: what does not decode is an
//! error.

use crate::error::RequestError;

/// The pairs of a query, decoded.
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    /// Decodes a query; `+` is a space.
    pub(super) fn parse(query: Option<&str>) -> Result<Self, RequestError> {
        let pairs = query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
        let decoded = pairs.map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((decode(name)?, decode(value)?))
        });
        decoded.collect::<Result<_, _>>().map(Self)
    }

    /// The first value of a name, unless it is empty.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let pair = self.0.iter().find(|(found, _)| found == name);
        pair.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    /// All pairs, in order.
    pub(super) fn pairs(&self) -> &[(String, String)] {
        &self.0
    }
}

fn decode(text: &str) -> Result<String, RequestError> {
    let invalid = || RequestError::invalid("the query is not percent-encoded UTF-8");
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit = || rest.next().and_then(|byte| char::from(byte).to_digit(16)).ok_or_else(invalid);
                // Two hexadecimal digits are at most 255.
                u8::try_from(digit()? * 16 + digit()?).map_err(|_| invalid())?
            }
            other => other,
        });
    }
    String::from_utf8(bytes).map_err(|_| invalid())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_values_are_decoded_as_utf_8() {
        let query = Query::parse(Some("operator=Jos%C3%A9&host=a+b&x&empty=&%C3%A9=1&n=12")).unwrap();
        assert_eq!(query.get("operator"), Some("José"));
        assert_eq!(query.get("host"), Some("a b"));
        assert_eq!((query.get("x"), query.get("empty"), query.get("é")), (None, None, Some("1")));
        assert_eq!(query.get("n"), Some("12"));
        assert_eq!(query.pairs()[3], ("empty".to_owned(), String::new()));
        assert!(Query::parse(None).unwrap().get("x").is_none());
    }

    #[test]
    fn what_does_not_decode_is_an_error() {
        for bad in ["a=%", "a=%4", "a=%zz", "a=%ff", "%c3=1", "a=%+1"] {
            assert!(Query::parse(Some(bad)).is_err(), "{bad}");
        }
    }
}
