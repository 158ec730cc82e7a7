//! Presence that is proven: a registration shows a parent's attestation of its key, and that it has the key. M17 is a row
//! of the checklist of what claudemesh's registry can do.

#![allow(clippy::unwrap_used)] // a test that fails must fail loudly

mod support;

use ed25519_compact::{KeyPair, Seed};
use serde_json::{Value, json};
use std::time::{SystemTime, UNIX_EPOCH};
use support::{Daemon, Place, raw_unix};

const HOUR: i64 = 3_600_000;

fn now() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

fn pair(number: u8) -> KeyPair {
    KeyPair::from_seed(Seed::new([number; 32]))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What `parent` attests for `session`, and the session's secret key.
fn presence(parent: &KeyPair, session: &KeyPair, expires_at: i64) -> Value {
    let (parent_key, key) = (hex(&*parent.pk), hex(&*session.pk));
    let signed = parent.sk.sign(format!("claudemesh-session-attest|{parent_key}|{key}|{expires_at}"), None);
    json!({
        "session_pubkey": key,
        "session_secret_key": hex(&*session.sk),
        "parent_attestation": {
            "session_pubkey": key, "parent_member_pubkey": parent_key, "expires_at": expires_at, "signature": hex(&*signed),
        },
    })
}

fn ask(daemon: &Daemon, method: &str, path: &str, body: &str) -> Value {
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let answer = raw_unix(&daemon.socket, head.as_bytes());
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

/// Registers a session and gives what became of its presence, and how it is listed.
fn register(daemon: &Daemon, presence: &Value) -> (Value, Value) {
    let body = json!({
        "token": "ab".repeat(32), "session_id": "s", "display_name": "s", "pid": std::process::id(), "mesh": "m", "presence": presence,
    });
    let answer = ask(daemon, "POST", "/v1/sessions/register", &body.to_string());
    let listed = ask(daemon, "GET", "/v1/sessions", "")["sessions"][0].clone();
    (answer, listed)
}

#[test]
fn m17_a_proven_presence_is_shown_and_each_refusal_has_its_reason() {
    let place = Place::new();
    let daemon = place.start();
    let (parent, session, other) = (pair(1), pair(2), pair(3));
    let good = presence(&parent, &session, now() + HOUR);
    let (answer, listed) = register(&daemon, &good);
    assert_eq!(answer["presence_accepted"], true, "{answer}");
    assert_eq!(listed["presenceProven"], true, "{listed}");
    assert_eq!(listed["presence"]["key"], hex(&*session.pk));
    assert_eq!(listed["presence"]["parent"], hex(&*parent.pk));

    let changed = |change: &dyn Fn(&mut Value)| {
        let mut changed = good.clone();
        change(&mut changed);
        changed
    };
    for (shown, reason) in [
        (presence(&parent, &session, now() - 1), "expired"),
        (presence(&parent, &session, now() + 25 * HOUR), "ttl_too_long"),
        (changed(&|p| p["parent_attestation"]["parent_member_pubkey"] = json!(hex(&*other.pk))), "bad_signature"),
        (changed(&|p| p["session_pubkey"] = json!(hex(&*other.pk))), "attestation_mismatch"),
        (changed(&|p| p["session_secret_key"] = json!(hex(&*other.sk))), "bad_session_key"),
        (changed(&|p| drop(p.as_object_mut().unwrap().remove("session_secret_key"))), "no_session_key"),
        (
            changed(&|p| p["hello"] = json!({"timestamp": now() - 61_000, "signature": "ab".repeat(64)})),
            "timestamp_skew",
        ),
        (json!("nonsense"), "malformed"),
    ] {
        let (answer, listed) = register(&daemon, &shown);
        assert_eq!((&answer["presence_accepted"], &answer["presence_refused"]), (&json!(false), &json!(reason)));
        assert_eq!((&listed["presence"], &listed["presenceProven"]), (&Value::Null, &Value::Null), "{listed}");
    }
    // The secret key is nowhere.
    let secret = hex(&*session.sk);
    let log = std::fs::read_to_string(place.log_path()).unwrap();
    let status = daemon.stop();
    assert_eq!(status, Some(0));
    assert!(!log.contains(&secret[..64]), "the log holds a secret key");
}

#[test]
fn only_the_parents_that_are_trusted_can_attest() {
    let place = Place::new();
    let (parent, session, other) = (pair(1), pair(2), pair(3));
    let parents = place.state().join("parents");
    drop(place.start());
    std::fs::write(&parents, format!("{}  # ours\n", hex(&*parent.pk))).unwrap();
    let refused = place.command().arg("serve").output().unwrap();
    assert_eq!(refused.status.code(), Some(77), "a file that others can read may have been written by them");
    std::fs::set_permissions(&parents, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let daemon = place.start();
    let (answer, _) = register(&daemon, &presence(&parent, &session, now() + HOUR));
    assert_eq!(answer["presence_accepted"], true, "{answer}");
    let (answer, _) = register(&daemon, &presence(&other, &session, now() + HOUR));
    assert_eq!(answer["presence_refused"], "wrong_parent", "{answer}");
    drop(daemon);
    std::fs::write(&parents, "no key\n").unwrap();
    let refused = place.command().arg("serve").output().unwrap();
    assert_eq!(refused.status.code(), Some(78));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("line 1"), "{refused:?}");
}
