//! What must hold for any bytes at a door: the entry function of the fuzz target `head`, and the replay of its corpus. It
//! is in no build but those of tests and fuzzers.

use super::Credential;
use super::body::Framing;
use super::connection::{Reading, Step};
use super::head::{self, Access, DoorFacts, Purpose};
use crate::model::TokenHash;

/// Short, so that a fuzzer comes upon it.
const TOKEN: &str = "fuzz";

/// Feeds `bytes` as a caller does, whole and in two parts cut where the last byte says.
pub fn check(bytes: &[u8]) {
    let bound = Some(([127, 0, 0, 1], 6156).into());
    let door = DoorFacts { bound, access: Access::Granted(Credential::None), allowed_hosts: &[] };
    let _ = head::line(bytes);
    if let Ok(Some(end)) = head::end_of_head(bytes, 0) {
        let _ = head::admit(&bytes[..end], door);
    }
    check_locked(bytes, door);
    let whole = Reading::default().feed(bytes, door);
    let cut = usize::from(bytes.last().copied().unwrap_or_default()) * bytes.len() / 256;
    let mut reading = Reading::default();
    let first = reading.feed(&bytes[..cut], door);
    let both = if matches!(first, Step::More | Step::Continue) { reading.feed(&bytes[cut..], door) } else { first };
    match (&whole, &both) {
        // Which of two reasons is found first may depend on the cut; whether it is let in may not.
        (Step::Refuse(_), Step::Refuse(_)) => {}
        // An interim answer is asked for only where the body is not there yet, and once.
        (Step::More | Step::Continue, Step::More | Step::Continue) => {}
        // A handshake cut off before what follows it is complete at the cut.
        (Step::Upgrade(key, _), Step::Upgrade(same, _)) => assert_eq!(key, same),
        // A request is complete at the cut, and what follows is looked at with the next read, by nobody.
        (Step::Refuse(refusal), Step::Request(..)) => assert_eq!(refusal.code, "trailing_bytes"),
        _ => assert_eq!(whole, both, "cut at {cut}"),
    }
    if let Step::Request(head, body, is_cut) = whole {
        let all = |name: &str| head.headers.iter().filter(|(each, _)| each == name).map(|(_, value)| value).collect();
        let (lengths, hosts): (Vec<&String>, Vec<&String>) = (all("content-length"), all("host"));
        let encodings: Vec<&String> = all("transfer-encoding");
        assert!(hosts.len() == 1 && lengths.len() + encodings.len() <= 1 && !is_cut, "{head:?}");
        assert!(lengths.iter().all(|length| length.bytes().all(|byte| byte.is_ascii_digit())), "{head:?}");
        assert!(encodings.iter().all(|encoding| encoding.eq_ignore_ascii_case("chunked")), "{head:?}");
        let Purpose::Http { framing, .. } = head.purpose else { panic!("{head:?}") };
        match framing {
            Framing::Length(length) => {
                assert_eq!(
                    (length, lengths.first().map_or(Some(0), |text| text.parse().ok())),
                    (body.len(), Some(length))
                );
                assert!(encodings.is_empty() && bytes.ends_with(&body));
            }
            // The content is shorter than its framing, which ends with a line end.
            Framing::Chunked => assert!(encodings.len() == 1 && body.len() < bytes.len() && bytes.ends_with(b"\r\n")),
        }
        assert!(head.path.starts_with('/'));
    }
}

/// What comes through a locked door has shown its token, in one header, and would have come through an open one.
fn check_locked(bytes: &[u8], open: DoorFacts<'_>) {
    let locked = DoorFacts { access: Access::Token(TokenHash::of(TOKEN)), ..open };
    let credential = match Reading::default().feed(bytes, locked) {
        Step::Request(head, ..) if head.credential == Credential::Nobody => {
            assert!(head.path == "/healthz" && ["GET", "HEAD"].contains(&head.method.as_str()), "{head:?}");
            return;
        }
        Step::Request(head, ..) => head.credential,
        Step::Upgrade(handshake, _) => handshake.credential,
        Step::More | Step::Continue | Step::Refuse(_) => return,
    };
    assert_eq!(credential, Credential::Machine);
    assert!(bytes.windows(TOKEN.len()).any(|window| window == TOKEN.as_bytes()));
    assert!(matches!(Reading::default().feed(bytes, open), Step::Request(..) | Step::Upgrade(..)));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    #[test]
    fn the_corpus_of_heads_holds() {
        crate::fuzz_corpus::replay("head", super::check);
    }

    proptest! {
        /// row 48: what the fuzzer checks holds for damaged chunked requests, where no fuzzer can be had.
        #[test]
        fn damaged_chunks_hold(
            sizes in proptest::collection::vec(0_usize..40, 0..6),
            damage in proptest::collection::vec((0_usize..400, any::<u8>()), 0..4),
            tail in "[ -~\r\n]{0,20}",
        ) {
            let mut request = b"POST /hook/x HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
            for size in sizes {
                request.extend_from_slice(format!("{size:x};e\r\n{}\r\n", "x".repeat(size)).as_bytes());
            }
            request.extend_from_slice(b"0\r\nX: y\r\n\r\n");
            request.extend_from_slice(tail.as_bytes());
            for (place, byte) in damage {
                let place = place % request.len();
                request[place] = byte;
            }
            super::check(&request);
        }
    }
}
