//! Reads a hook's event from stdin with a deadline: an agent that never closes its end of the pipe is not kept waiting. A
//! complete event is used, an incomplete one is dropped.

use crate::bom;
use crate::limits::{HOOK_INPUT_BYTES_MAX, HOOK_INPUT_DEADLINE, HOOK_INPUT_PATIENCE, HOOK_READ_BYTES};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use serde::de::IgnoredAny;
use std::io::{self, ErrorKind, Read};
use std::time::{Duration, Instant};

/// Standard input with a bounded wait.
pub trait Input: Read {
    /// Waits until a read would not block. Returns `false` if `patience` is over before.
    fn waits(&mut self, patience: Duration) -> bool;
}

impl Input for &[u8] {
    fn waits(&mut self, _: Duration) -> bool {
        true
    }
}

impl Input for io::Empty {
    fn waits(&mut self, _: Duration) -> bool {
        true
    }
}

impl Input for io::Stdin {
    fn waits(&mut self, patience: Duration) -> bool {
        let end = Instant::now() + patience;
        loop {
            let left = Timespec::try_from(end.saturating_duration_since(Instant::now())).ok();
            let mut waited = [PollFd::new(&*self, PollFlags::IN)];
            match rustix::event::poll(&mut waited, left.as_ref()) {
                Ok(count) => return count > 0,
                Err(Errno::INTR) => {}
                // The read reports the error.
                Err(_) => return true,
            }
        }
    }
}

/// Reads to the end of stdin. If the end does not come, returns a complete event or nothing.
pub(super) fn read(stdin: &mut dyn Input) -> Vec<u8> {
    let end = Instant::now() + HOOK_INPUT_DEADLINE;
    let (mut input, mut chunk) = (Vec::new(), vec![0; HOOK_READ_BYTES]);
    loop {
        if !stdin.waits(Duration::ZERO) {
            // Agents that write a newline after the event get a moment to do so.
            let is_event = is_event(&input);
            let left = end.saturating_duration_since(Instant::now());
            if !stdin.waits(if is_event { left.min(HOOK_INPUT_PATIENCE) } else { left }) {
                return if is_event { input } else { Vec::new() };
            }
        } else if Instant::now() > end {
            return Vec::new();
        }
        match stdin.read(&mut chunk) {
            Ok(0) => return input,
            // Bytes beyond the bound are read and dropped: an agent reports a hook that stops reading as broken.
            Ok(count) => input.extend_from_slice(&chunk[..count.min(HOOK_INPUT_BYTES_MAX - input.len())]),
            Err(error) if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock) => {}
            // A read error ends the input.
            Err(_) => return input,
        }
    }
}

fn is_event(input: &[u8]) -> bool {
    let text = bom::without(input).trim_ascii();
    text.ends_with(b"}") && serde_json::from_slice::<IgnoredAny>(text).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scripted reads; after the last one the pipe is closed or stays open.
    struct Stdin {
        reads: Vec<std::io::Result<Vec<u8>>>,
        is_closed: bool,
    }

    impl Read for Stdin {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            if self.reads.is_empty() {
                return Ok(0);
            }
            let bytes = self.reads.remove(0)?;
            buffer[..bytes.len()].copy_from_slice(&bytes);
            Ok(bytes.len())
        }
    }

    impl Input for Stdin {
        fn waits(&mut self, _: Duration) -> bool {
            self.is_closed || !self.reads.is_empty()
        }
    }

    fn read_all(reads: &[&str], is_closed: bool) -> String {
        let reads = reads.iter().map(|text| Ok(text.as_bytes().to_vec())).collect();
        String::from_utf8(read(&mut Stdin { reads, is_closed })).unwrap()
    }

    // row 117
    #[test]
    fn what_is_whole_is_taken_though_nobody_closes_it_and_what_is_not_is_given_up() {
        for (reads, open, closed) in [
            (&[][..], "", ""),
            (&[r#"{"a":1}"#], r#"{"a":1}"#, r#"{"a":1}"#),
            (&[r#"{"a":"#, "1}\n"], "{\"a\":1}\n", "{\"a\":1}\n"),
            (&["\u{feff}{}"], "\u{feff}{}", "\u{feff}{}"),
            (&[r#"{"a":{}"#], "", r#"{"a":{}"#),
            (&["garbage }"], "", "garbage }"),
            (&["\n"], "", "\n"),
        ] {
            assert_eq!(read_all(reads, false), open, "{reads:?} and open");
            assert_eq!(read_all(reads, true), closed, "{reads:?} and closed");
        }
    }

    #[test]
    fn an_interruption_is_no_end_and_a_fault_is_one() {
        let reads = |kind: ErrorKind| vec![Ok(b"{".to_vec()), Err(kind.into()), Ok(b"}".to_vec())];
        for (kind, expected) in [(ErrorKind::Interrupted, "{}"), (ErrorKind::WouldBlock, "{}"), (ErrorKind::Other, "{")]
        {
            assert_eq!(read(&mut Stdin { reads: reads(kind), is_closed: true }), expected.as_bytes(), "{kind:?}");
        }
    }
}
