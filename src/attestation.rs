//! Whether a session's presence is proven: a parent's key attests the session's key for some hours, and whoever registers
//! shows that it holds the session's key. Pure: what is shown and the moment in, a verdict out. It must keep no secret
//! key; one that is shown is looked at and forgotten. The strings that are signed are claudemesh's.

use crate::limits::{ATTESTATION_AHEAD_MAX_MS, ATTESTATION_SKEW_MAX_MS};
use crate::model::Presence;
use ed25519_compact::{KeyPair, PublicKey, SecretKey, Signature};
use serde::Deserialize;
use std::fmt;
use std::sync::Arc;

/// Why a presence is not proven. The words never change once published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// A member is missing, or no key or signature in hexadecimal digits of the right number.
    Malformed,
    /// The attestation is over.
    Expired,
    /// The attestation is for more than 24 hours from now.
    TtlTooLong,
    /// The parent has not signed this.
    BadSignature,
    /// The parent is none of those that this daemon trusts.
    WrongParent,
    /// The attestation is for another key than the session's.
    AttestationMismatch,
    /// Nothing shows that the session's key is there: the attestation may have been copied.
    NoSessionKey,
    /// What should show that the session's key is there belongs to another key.
    BadSessionKey,
    /// The hello is not of this minute.
    TimestampSkew,
}

impl Refusal {
    /// The stable word on the wire.
    pub fn code(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Expired => "expired",
            Self::TtlTooLong => "ttl_too_long",
            Self::BadSignature => "bad_signature",
            Self::WrongParent => "wrong_parent",
            Self::AttestationMismatch => "attestation_mismatch",
            Self::NoSessionKey => "no_session_key",
            Self::BadSessionKey => "bad_session_key",
            Self::TimestampSkew => "timestamp_skew",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// What a registration shows.
#[derive(Deserialize)]
struct Block<'a> {
    #[serde(borrow)]
    session_pubkey: &'a str,
    session_secret_key: Option<&'a str>,
    parent_attestation: Attestation<'a>,
    hello: Option<Hello<'a>>,
}

#[derive(Deserialize)]
struct Attestation<'a> {
    session_pubkey: &'a str,
    parent_member_pubkey: &'a str,
    expires_at: i64,
    signature: &'a str,
}

/// Shows that the session's key is there without showing it.
#[derive(Deserialize)]
struct Hello<'a> {
    timestamp: i64,
    signature: &'a str,
}

/// Looks at the `presence` of a registration, as JSON. `parents` are the keys that may attest, in lower case; none means
/// that every one may, and that readers see which it was.
///
/// # Errors
/// The first reason for which it proves nothing.
pub fn check(block: &str, mesh: &str, now_ms: i64, parents: Option<&[String]>) -> Result<Presence, Refusal> {
    let block: Block<'_> = serde_json::from_str(block).map_err(|_| Refusal::Malformed)?;
    let attested = &block.parent_attestation;
    let session = public_key(block.session_pubkey)?;
    let parent = public_key(attested.parent_member_pubkey)?;
    let signature = signature(attested.signature)?;
    if public_key(attested.session_pubkey)? != session {
        return Err(Refusal::AttestationMismatch);
    }
    if parents
        .is_some_and(|parents| !parents.iter().any(|each| each.eq_ignore_ascii_case(attested.parent_member_pubkey)))
    {
        return Err(Refusal::WrongParent);
    }
    if attested.expires_at <= now_ms {
        return Err(Refusal::Expired);
    }
    if attested.expires_at.saturating_sub(now_ms) > ATTESTATION_AHEAD_MAX_MS {
        return Err(Refusal::TtlTooLong);
    }
    let Attestation { parent_member_pubkey, expires_at, session_pubkey, .. } = attested;
    let stated = format!("claudemesh-session-attest|{parent_member_pubkey}|{session_pubkey}|{expires_at}");
    parent.verify(stated, &signature).map_err(|_| Refusal::BadSignature)?;
    shows_session_key(&block, &session, mesh, now_ms)?;
    let lower = |text: &str| Arc::from(text.to_ascii_lowercase());
    Ok(Presence { key: lower(session_pubkey), parent: lower(parent_member_pubkey), expires_at: *expires_at })
}

/// An attestation is no secret: only who has the session's key too is the session.
fn shows_session_key(block: &Block<'_>, session: &PublicKey, mesh: &str, now_ms: i64) -> Result<(), Refusal> {
    if let Some(Hello { timestamp, signature: signed }) = &block.hello {
        if timestamp.abs_diff(now_ms) > ATTESTATION_SKEW_MAX_MS {
            return Err(Refusal::TimestampSkew);
        }
        let parent = block.parent_attestation.parent_member_pubkey;
        let stated = format!("claudemesh-session-hello|{mesh}|{parent}|{}|{timestamp}", block.session_pubkey);
        return session.verify(stated, &signature(signed)?).map_err(|_| Refusal::BadSessionKey);
    }
    let secret = block.session_secret_key.ok_or(Refusal::NoSessionKey)?;
    let secret = SecretKey::new(bytes(secret).ok_or(Refusal::Malformed)?);
    // Its second half says which public key it belongs to; the first alone makes it so.
    let pair = KeyPair::try_from_seed(secret.seed()).map_err(|_| Refusal::BadSessionKey)?;
    if pair.pk == *session { Ok(()) } else { Err(Refusal::BadSessionKey) }
}

/// The keys that may attest, from a text with one in each line; what follows a `#` is for people.
///
/// # Errors
/// The number of a line that is no key.
pub fn parse_parents(text: &str) -> Result<Vec<String>, usize> {
    let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default().trim()).enumerate();
    let keys = lines.filter(|(_, line)| !line.is_empty());
    keys.map(|(number, line)| bytes::<32>(line).map(|_| line.to_ascii_lowercase()).ok_or(number + 1)).collect()
}

fn public_key(text: &str) -> Result<PublicKey, Refusal> {
    bytes(text).map(PublicKey::new).ok_or(Refusal::Malformed)
}

fn signature(text: &str) -> Result<Signature, Refusal> {
    bytes(text).map(Signature::new).ok_or(Refusal::Malformed)
}

/// Bytes of exactly twice as many hexadecimal digits.
fn bytes<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    if text.len() != 2 * N || !text.is_ascii() {
        return None;
    }
    for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
        let digit = |digit: u8| char::from(digit).to_digit(16);
        *byte = u8::try_from(digit(digits[0])? * 16 + digit(digits[1])?).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ed25519_compact::Seed;
    use serde_json::{Value, json};

    const NOW: i64 = 1_795_219_453_182;
    const HOUR: i64 = 3_600_000;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn pair(number: u8) -> KeyPair {
        KeyPair::from_seed(Seed::new([number; 32]))
    }

    /// What a parent attests for a session's key.
    fn attestation(parent: &KeyPair, session: &KeyPair, expires_at: i64) -> Value {
        let (parent_key, session_key) = (hex(&*parent.pk), hex(&*session.pk));
        let signed = parent.sk.sign(format!("claudemesh-session-attest|{parent_key}|{session_key}|{expires_at}"), None);
        json!({"session_pubkey": session_key, "parent_member_pubkey": parent_key, "expires_at": expires_at, "signature": hex(&*signed)})
    }

    fn block(attestation: Value, session: &KeyPair) -> Value {
        json!({"session_pubkey": hex(&*session.pk), "session_secret_key": hex(&*session.sk), "parent_attestation": attestation})
    }

    fn hello(attestation: Value, session: &KeyPair, signer: &KeyPair, timestamp: i64) -> Value {
        let (key, parent) = (hex(&*session.pk), attestation["parent_member_pubkey"].as_str().unwrap().to_owned());
        let signed = signer.sk.sign(format!("claudemesh-session-hello|m|{parent}|{key}|{timestamp}"), None);
        json!({"session_pubkey": key, "parent_attestation": attestation, "hello": {"timestamp": timestamp, "signature": hex(&*signed)}})
    }

    fn verdict(block: &Value) -> Result<(), Refusal> {
        check(&block.to_string(), "m", NOW, None).map(|_| ())
    }

    /// Checklist M17.
    #[test]
    fn each_fault_of_an_attestation_has_its_own_reason() {
        let (parent, session, other) = (pair(1), pair(2), pair(3));
        let good = || attestation(&parent, &session, NOW + HOUR);
        let proven = check(&block(good(), &session).to_string(), "m", NOW, None).unwrap();
        assert_eq!((&*proven.key, &*proven.parent), (hex(&*session.pk).as_str(), hex(&*parent.pk).as_str()));
        assert_eq!(proven.expires_at, NOW + HOUR);
        let trusted = |key: &KeyPair| {
            let parents = [hex(&*other.pk), hex(&*key.pk).to_uppercase()];
            check(&block(good(), &session).to_string(), "m", NOW, Some(&parents)).map(|_| ())
        };
        assert_eq!((trusted(&parent), trusted(&other)), (Ok(()), Err(Refusal::WrongParent)));

        let changed = |change: &dyn Fn(&mut Value)| {
            let mut block = block(good(), &session);
            change(&mut block);
            verdict(&block)
        };
        let attested = |name: &'static str, value: Value| {
            move |block: &mut Value| block["parent_attestation"][name] = value.clone()
        };
        let cases: [(Result<(), Refusal>, Refusal); 12] = [
            (verdict(&block(attestation(&parent, &session, NOW), &session)), Refusal::Expired),
            (verdict(&block(attestation(&parent, &session, NOW + 24 * HOUR + 1), &session)), Refusal::TtlTooLong),
            (changed(&attested("expires_at", json!(NOW + 2 * HOUR))), Refusal::BadSignature),
            (changed(&attested("parent_member_pubkey", json!(hex(&*other.pk)))), Refusal::BadSignature),
            (changed(&attested("session_pubkey", json!(hex(&*other.pk)))), Refusal::AttestationMismatch),
            (changed(&|block| block["session_pubkey"] = json!(hex(&*other.pk))), Refusal::AttestationMismatch),
            (verdict(&block(attestation(&other, &other, NOW + HOUR), &session)), Refusal::AttestationMismatch),
            (changed(&|block| block["session_secret_key"] = json!(hex(&*other.sk))), Refusal::BadSessionKey),
            (changed(&|block| block["session_secret_key"] = Value::Null), Refusal::NoSessionKey),
            (changed(&|block| block["session_secret_key"] = json!("12")), Refusal::Malformed),
            (changed(&attested("signature", json!("zz".repeat(64)))), Refusal::Malformed),
            (changed(&|block| block["parent_attestation"] = json!([1])), Refusal::Malformed),
        ];
        for (number, (seen, wanted)) in cases.into_iter().enumerate() {
            assert_eq!(seen, Err(wanted), "case {number}");
        }
    }

    #[test]
    fn a_hello_shows_the_session_key_for_a_minute() {
        let (parent, session, other) = (pair(1), pair(2), pair(3));
        let good = || attestation(&parent, &session, NOW + HOUR);
        for (timestamp, wanted) in [
            (NOW, Ok(())),
            (NOW - 60_000, Ok(())),
            (NOW + 60_000, Ok(())),
            (NOW - 60_001, Err(Refusal::TimestampSkew)),
            (NOW + 60_001, Err(Refusal::TimestampSkew)),
            (i64::MIN, Err(Refusal::TimestampSkew)),
        ] {
            assert_eq!(verdict(&hello(good(), &session, &session, timestamp)), wanted, "{timestamp}");
        }
        assert_eq!(verdict(&hello(good(), &session, &other, NOW)), Err(Refusal::BadSessionKey));
        let in_another_mesh = check(&hello(good(), &session, &session, NOW).to_string(), "n", NOW, None);
        assert_eq!(in_another_mesh, Err(Refusal::BadSessionKey));
    }

    #[test]
    fn the_keys_that_may_attest_stand_one_in_each_line() {
        let (a, b) = (hex(&*pair(1).pk), hex(&*pair(2).pk));
        let text = format!("# ours\n{}  # ana\n\n  {b}\n", a.to_uppercase());
        assert_eq!(parse_parents(&text), Ok(vec![a.clone(), b]));
        assert_eq!(parse_parents(&format!("{a}\n{a}0\n")), Err(2));
        assert_eq!(parse_parents(" \n#\n"), Ok(Vec::new()));
    }

    #[test]
    fn an_attestation_lasts_for_a_day_at_most() {
        let (parent, session) = (pair(1), pair(2));
        assert_eq!(verdict(&block(attestation(&parent, &session, NOW + 24 * HOUR), &session)), Ok(()));
        assert_eq!(verdict(&block(attestation(&parent, &session, NOW + 1), &session)), Ok(()));
        assert_eq!(verdict(&block(attestation(&parent, &session, i64::MAX), &session)), Err(Refusal::TtlTooLong));
    }
}
