//! A client's two threads over a socket pair, with a patience that a test can wait for.

use super::*;
use crate::limits::WS_SMALL_MESSAGE_BYTES;
use std::io::Read;
use std::os::unix::net::UnixStream;
use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(20);

/// The threads of a client that is given up after `patience`, the client's end, and what the store gets.
fn client(patience: Duration, ping_every: Duration) -> (JoinHandle<()>, UnixStream, Receiver<Command>) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    theirs.set_read_timeout(Some(DEADLINE)).unwrap();
    ours.set_read_timeout(Some(patience)).unwrap();
    let (thread, commands) = client_over(ours, patience, ping_every, LargeMessages::new(1, DEADLINE));
    (thread, theirs, commands)
}

fn client_over(
    ours: UnixStream,
    patience: Duration,
    ping_every: Duration,
    large_messages: LargeMessages,
) -> (JoinHandle<()>, Receiver<Command>) {
    let (outbox, frames) = bounded(8);
    let (owed, written) = bounded(4);
    let client = Client { id: "c".into(), stream: Arc::new(Stream::Unix(ours)), outbox: outbox.into(), owed };
    let (store, commands) = bounded(8);
    let (exits, _) = bounded(1);
    let threads = exits.clone();
    let (proofs, proven) = bounded(4);
    let queue = writer::Queue { frames, written, ping_every, proofs };
    let said = reader::Said { leftover: Vec::new(), silence_max: patience, large_messages, proven };
    let thread = thread::spawn("ws-reader", None, &exits, move || {
        let frames = frames::Frames::new(client.clone(), store.clone());
        serve(client, said, queue, &store, &threads, frames).unwrap();
    });
    (thread.unwrap(), commands)
}

#[test]
fn a_peer_that_died_without_a_word_is_reported_gone_and_its_threads_end() {
    // marshal 0.9 fault 22: its session stayed live until the kernel noticed.
    let (thread, mut peer, commands) = client(Duration::from_millis(30), DEADLINE);
    assert!(matches!(commands.recv_timeout(DEADLINE).unwrap(), Command::Connect { .. }));
    assert!(matches!(commands.recv_timeout(DEADLINE).unwrap(), Command::Disconnect { .. }));
    assert_eq!(peer.read(&mut [0; 8]).unwrap(), 0, "its socket is closed");
    thread.join().unwrap();
}

#[test]
fn an_idle_peer_is_pinged_and_one_that_answers_is_not_given_up() {
    let patience = Duration::from_secs(2);
    let (thread, mut peer, commands) = client(patience, Duration::from_millis(100));
    assert!(matches!(commands.recv_timeout(DEADLINE).unwrap(), Command::Connect { .. }));
    let begun = std::time::Instant::now();
    // Longer than its patience with silence.
    while begun.elapsed() < patience * 3 / 2 {
        let mut frame = [0; 2];
        peer.read_exact(&mut frame).unwrap();
        assert_eq!(frame, [0x89, 0], "a ping without payload");
        // A masked pong.
        io::Write::write_all(&mut peer, &[0x8a, 0x80, 0, 0, 0, 0]).unwrap();
    }
    assert!(commands.try_recv().is_err());
    drop(peer);
    assert!(matches!(commands.recv_timeout(DEADLINE).unwrap(), Command::Disconnect { .. }));
    thread.join().unwrap();
}

#[test]
fn a_push_counts_as_read_when_the_peer_has_answered_the_ping_behind_it_and_not_before() {
    use crate::model::{Message, Recipient, Stored};
    use crate::roster::{Push, Request};
    let (thread, mut peer, commands) = client(DEADLINE, DEADLINE);
    let Command::Connect { outbox, client } = commands.recv_timeout(DEADLINE).unwrap() else { panic!() };
    let message = Stored::new(Message {
        id: "m".into(),
        from_session_id: "a".into(),
        from_nick: "a".into(),
        to: Recipient::Session("b".into()),
        to_nick: "b".into(),
        body: "x".into(),
        sent_at: 1,
        read_at: None,
    });
    let push = Push { client, message, room_name: None, read_when_written: Some("b".into()) };
    assert!(outbox.send(Frame::Notify { tx: "t".to_owned(), push: Box::new(push) }));
    let mut head = [0; 4];
    peer.read_exact(&mut head).unwrap();
    let mut body = vec![0; usize::from(u16::from_be_bytes([head[2], head[3]]))];
    peer.read_exact(&mut body).unwrap();
    let mut ping = [0; 10];
    peer.read_exact(&mut ping).unwrap();
    assert_eq!(ping[..2], [0x89, 8], "a ping with a number follows the push");
    assert!(commands.try_recv().is_err(), "written is not read");
    let mut pong = vec![0x8a, 0x88, 0, 0, 0, 0];
    pong.extend_from_slice(&ping[2..]);
    io::Write::write_all(&mut peer, &pong).unwrap();
    let Command::Request { request: Request::InboxHanded { session, complete, .. }, .. } =
        commands.recv_timeout(DEADLINE).unwrap()
    else {
        panic!()
    };
    assert_eq!((session.as_str(), complete), ("b", true));
    drop((peer, outbox));
    thread.join().unwrap();
}

/// A frame of a client, masked with zeros, in the middle of which it stops.
fn begin_large_message(peer: &mut UnixStream, payload_bytes: usize) {
    let mut bytes = vec![0x81, 0xff];
    bytes.extend_from_slice(&(2 * payload_bytes as u64).to_be_bytes());
    bytes.extend_from_slice(&[0; 4]);
    bytes.resize(bytes.len() + payload_bytes, b'x');
    io::Write::write_all(peer, &bytes).unwrap();
}

#[test]
fn a_large_message_that_does_not_arrive_ends_its_client_and_lets_the_next_in() {
    let large_messages = LargeMessages::new(1, Duration::from_millis(300));
    let begin = || {
        let (ours, theirs) = UnixStream::pair().unwrap();
        theirs.set_read_timeout(Some(DEADLINE)).unwrap();
        ours.set_read_timeout(Some(DEADLINE)).unwrap();
        (client_over(ours, DEADLINE, DEADLINE, large_messages.clone()), theirs)
    };
    let ((holder, commands), mut peer) = begin();
    begin_large_message(&mut peer, WS_SMALL_MESSAGE_BYTES + 10_000);
    assert!(matches!(commands.recv_timeout(DEADLINE).unwrap(), Command::Connect { .. }));
    // Its deadline, not that of silence.
    assert!(matches!(commands.recv_timeout(DEADLINE / 2).unwrap(), Command::Disconnect { .. }));
    holder.join().unwrap();

    // The leave is free again: one who says the whole is heard, and is then not hurried any more.
    let ((thread, commands), mut peer) = begin();
    let text = format!(
        "{{\"event\":\"ws:m:query\",\"data\":{{\"query\":{{\"tx\":\"t\"}},\"queryItemType\":\"Session\",\"x\":\"{}\"}}}}",
        "x".repeat(200_000)
    );
    let mut bytes = vec![0x81, 0xff];
    bytes.extend_from_slice(&(text.len() as u64).to_be_bytes());
    bytes.extend_from_slice(&[0; 4]);
    io::Write::write_all(&mut peer, &[&bytes, text.as_bytes()].concat()).unwrap();
    assert!(matches!(commands.recv_timeout(DEADLINE).unwrap(), Command::Connect { .. }));
    assert!(matches!(commands.recv_timeout(DEADLINE).unwrap(), Command::Query { .. }));
    assert!(commands.recv_timeout(Duration::from_millis(600)).is_err(), "it may be silent as long as others");
    drop(peer);
    thread.join().unwrap();
}

#[test]
fn many_small_messages_and_pings_are_not_a_large_one() {
    // There is no leave to be had.
    let large_messages = LargeMessages::new(0, Duration::from_millis(1));
    let (ours, mut peer) = UnixStream::pair().unwrap();
    ours.set_read_timeout(Some(DEADLINE)).unwrap();
    let (thread, commands) = client_over(ours, DEADLINE, DEADLINE, large_messages);
    assert!(matches!(commands.recv_timeout(DEADLINE).unwrap(), Command::Connect { .. }));
    let pong = [&[0x8a, 0xfd, 0, 0, 0, 0], [b'p'; 125].as_slice()].concat();
    let text = [&[0x81, 0xfe, 0x27, 0x10, 0, 0, 0, 0], [b'x'; 10_000].as_slice()].concat();
    for bytes in [pong.repeat(WS_SMALL_MESSAGE_BYTES / 50), text.repeat(WS_SMALL_MESSAGE_BYTES / 5_000)] {
        io::Write::write_all(&mut peer, &bytes).unwrap();
    }
    assert!(commands.try_recv().is_err());
    begin_large_message(&mut peer, WS_SMALL_MESSAGE_BYTES + 10_000);
    assert!(matches!(commands.recv_timeout(DEADLINE).unwrap(), Command::Disconnect { .. }));
    thread.join().unwrap();
}
