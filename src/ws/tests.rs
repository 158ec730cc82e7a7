//! A client's two threads over a socket pair, with a patience that a test can wait for.

use super::*;
use std::io::Read;
use std::os::unix::net::UnixStream;
use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(20);

/// The threads of a client that is given up after `patience`, the client's end, and what the store gets.
fn client(patience: Duration, ping_every: Duration) -> (JoinHandle<()>, UnixStream, Receiver<Command>) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    theirs.set_read_timeout(Some(DEADLINE)).unwrap();
    ours.set_read_timeout(Some(patience)).unwrap();
    let (outbox, frames) = bounded(8);
    let (owed, written) = bounded(4);
    let client = Client { id: "c".into(), stream: Arc::new(Stream::Unix(ours)), outbox, owed };
    let (store, commands) = bounded(8);
    let (exits, _) = bounded(1);
    let threads = exits.clone();
    let (proofs, proven) = bounded(4);
    let queue = writer::Queue { frames, written, ping_every, proofs };
    let large_messages = LargeMessages::new(1, DEADLINE);
    let said = reader::Said { leftover: Vec::new(), silence_max: patience, large_messages, proven };
    let thread = thread::spawn("ws-reader", None, &exits, move || {
        let frames = frames::Frames::new(client.clone(), store.clone());
        serve(client, said, queue, &store, &threads, frames).unwrap();
    });
    (thread.unwrap(), theirs, commands)
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
