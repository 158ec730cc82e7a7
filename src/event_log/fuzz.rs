//! What must hold for any line of the log: the entry function of the fuzz target `line`, and the replay of its corpus. It
//! is in no build but those of tests and fuzzers.

use super::key::LogKey;
use super::line::{Line, Stamp, encode_delete, encode_set, parse};

/// Reads a line, and if it holds something that this version knows, writes it and reads it again.
pub fn check(bytes: &[u8]) {
    let stamp = Stamp {
        created_at: "2026-11-21T00:04:13+00:00".into(),
        tx: "tx".into(),
        source_id: "source".into(),
        key: LogKey::of([1; 16]),
    };
    let mut first = Vec::new();
    match parse(bytes) {
        Ok(Line::Set(row)) => encode_set(&row, 7, &stamp, &mut first),
        Ok(Line::Delete(item_type, id)) => encode_delete(item_type, &id, &stamp, &mut first),
        Ok(Line::Foreign(_)) => return assert!(!bytes.trim_ascii().is_empty()),
        Ok(Line::Blank) | Err(_) => return,
    }
    assert!(first.ends_with(b"\n") && first.iter().filter(|byte| **byte == b'\n').count() == 1, "one line");
    let mut second = Vec::new();
    match parse(&first) {
        Ok(Line::Set(row)) => encode_set(&row, 7, &stamp, &mut second),
        Ok(Line::Delete(item_type, id)) => encode_delete(item_type, &id, &stamp, &mut second),
        other => panic!("our own line is read as {other:?}: {}", String::from_utf8_lossy(&first)),
    }
    assert_eq!(String::from_utf8_lossy(&first), String::from_utf8_lossy(&second));
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_corpus_of_lines_holds() {
        crate::fuzz_corpus::replay("line", super::check);
    }
}
