//! Clients over socket pairs, with bounds that a test can wait for.

mod events;

use super::*;
use crate::gate::{Credential, DoorKind};
use crate::limits::WS_SMALL_MESSAGE_BYTES;
use crate::roster::{Hearing, Request};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(20);

/// All threads, and what the store gets.
struct Bench {
    upgrades: Option<Sender<Upgrade>>,
    subscribe: Subscribe,
    commands: Option<Receiver<Command>>,
    threads: Option<JoinHandle<()>>,
    exited: Receiver<Exit>,
}

/// With bounds that no test comes to.
fn patient() -> Settings {
    Settings { silence_max: DEADLINE, ping_every: DEADLINE, write_timeout: DEADLINE, ..Settings::new(8) }
}

impl Bench {
    fn new(settings: Settings) -> Self {
        let (upgrades, to_upgrade) = bounded(8);
        let (store, commands) = bounded(8);
        let (exits, exited) = bounded(4);
        let to_store = store.clone();
        let make = move |client: &Client| frames::Frames::new(client.clone(), to_store.clone());
        let (threads, subscribe) = start_with(to_upgrade, store, settings, &exits, make).unwrap();
        Self { upgrades: Some(upgrades), subscribe, commands: Some(commands), threads: Some(threads), exited }
    }

    /// The client's end of a new connection, with which these bytes came.
    fn connect(&self, leftover: &[u8]) -> UnixStream {
        let (ours, theirs) = UnixStream::pair().unwrap();
        theirs.set_read_timeout(Some(DEADLINE)).unwrap();
        self.let_in(ours, leftover);
        theirs
    }

    fn let_in(&self, ours: UnixStream, leftover: &[u8]) {
        ours.set_nonblocking(true).unwrap();
        let (stream, leftover) = (Stream::Unix(ours), leftover.to_vec());
        let (door, credential) = (DoorKind::WebSocket, Credential::None);
        let upgrade = Upgrade {
            stream,
            leftover,
            door,
            credential,
            maker: crate::process::PeerHandle::Ended,
            peer: "test".to_owned(),
        };
        self.upgrades.as_ref().unwrap().send(upgrade).unwrap();
    }

    fn command(&self) -> Command {
        self.commands.as_ref().unwrap().recv_timeout(DEADLINE).unwrap()
    }

    /// What the store would do with the client.
    fn connected(&self) -> (ClientId, crate::store::Outbox) {
        let Command::Connect { client, outbox, .. } = self.command() else { panic!("not a new client") };
        (client, outbox)
    }

    /// Knocks until there is a place.
    fn connect_when_free(&self) -> UnixStream {
        let begun = std::time::Instant::now();
        while begun.elapsed() < DEADLINE {
            let peer = self.connect(b"");
            let next = self.commands.as_ref().unwrap().recv_timeout(Duration::from_millis(50));
            if matches!(next, Ok(Command::Connect { .. })) {
                return peer;
            }
        }
        panic!("there is never a place");
    }

    fn is_gone(&self) {
        assert!(matches!(self.command(), Command::Disconnect { .. }));
    }

    fn is_silent(&self) {
        assert!(self.commands.as_ref().unwrap().try_recv().is_err());
    }
}

impl Drop for Bench {
    /// With the gate and all clients gone, all threads end, and none has panicked.
    fn drop(&mut self) {
        self.upgrades = None;
        // Whoever is still connected is told of the store's end.
        self.commands = None;
        if !std::thread::panicking() {
            self.threads.take().unwrap().join().unwrap();
            assert!(self.exited.try_recv().is_err());
        }
    }
}

/// A text frame of a client, masked with zeros.
fn text(text: &str) -> Vec<u8> {
    let mut bytes = vec![0x81, 0xff];
    bytes.extend_from_slice(&(text.len() as u64).to_be_bytes());
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(text.as_bytes());
    bytes
}

/// The texts of the next frames of the server, up to `count`.
fn texts(peer: &mut UnixStream, count: usize) -> Vec<String> {
    let mut next = || {
        let mut head = [0; 2];
        peer.read_exact(&mut head).unwrap();
        let length = match head[1] {
            126 => {
                let mut more = [0; 2];
                peer.read_exact(&mut more).unwrap();
                usize::from(u16::from_be_bytes(more))
            }
            127 => {
                let mut more = [0; 8];
                peer.read_exact(&mut more).unwrap();
                u64::from_be_bytes(more) as usize
            }
            short => usize::from(short),
        };
        let mut payload = vec![0; length];
        peer.read_exact(&mut payload).unwrap();
        String::from_utf8_lossy(&payload).into_owned()
    };
    (0..count).map(|_| next()).collect()
}

#[test]
fn a_peer_that_died_without_a_word_is_reported_gone() {
    // marshal 0.9 fault 22: its session stayed live until the kernel noticed.
    let bench = Bench::new(Settings { silence_max: Duration::from_millis(30), ..patient() });
    let mut peer = bench.connect(b"");
    bench.connected();
    bench.is_gone();
    assert_eq!(peer.read(&mut [0; 8]).unwrap(), 0, "its socket is closed");
}

#[test]
fn an_idle_peer_is_pinged_and_one_that_answers_is_not_given_up() {
    let patience = Duration::from_secs(2);
    let bench = Bench::new(Settings { silence_max: patience, ping_every: Duration::from_millis(100), ..patient() });
    let mut peer = bench.connect(b"");
    bench.connected();
    let begun = std::time::Instant::now();
    // Longer than its patience with silence.
    while begun.elapsed() < patience * 3 / 2 {
        let mut frame = [0; 2];
        peer.read_exact(&mut frame).unwrap();
        assert_eq!(frame, [0x89, 0], "a ping without payload");
        // A masked pong.
        peer.write_all(&[0x8a, 0x80, 0, 0, 0, 0]).unwrap();
    }
    bench.is_silent();
    drop(peer);
    bench.is_gone();
}

fn message() -> Arc<crate::model::Stored<crate::model::Message>> {
    crate::model::Stored::new(crate::model::Message {
        id: "m".into(),
        from_session_id: "a".into(),
        from_nick: "a".into(),
        to: crate::model::Recipient::Session("b".into()),
        to_nick: "b".into(),
        body: "x".into(),
        sent_at: 1,
        read_at: None,
        proof: None,
        terms: None,
    })
}

#[test]
fn a_push_counts_as_read_when_the_peer_has_answered_the_ping_behind_it_and_not_before() {
    use crate::roster::Push;
    let bench = Bench::new(patient());
    let mut peer = bench.connect(b"");
    let (client, outbox) = bench.connected();
    let push = Push { client, message: message(), room_name: None, read_when_written: Some("b".into()), repeat: false };
    assert!(outbox.send(Frame::Notify { tx: "t".to_owned(), push: Box::new(push) }));
    assert!(texts(&mut peer, 1)[0].contains("NotifyChannel"));
    let mut ping = [0; 10];
    peer.read_exact(&mut ping).unwrap();
    assert_eq!(ping[..2], [0x89, 8], "a ping with a number follows the push");
    bench.is_silent();
    let mut pong = vec![0x8a, 0x88, 0, 0, 0, 0];
    pong.extend_from_slice(&ping[2..]);
    peer.write_all(&pong).unwrap();
    let Command::Request { request: Request::InboxHanded { session, arrival, .. }, .. } = bench.command() else {
        panic!()
    };
    assert_eq!((session.as_str(), arrival), ("b", crate::roster::Arrival::Whole));
}

/// A frame in the middle of which the client stops.
fn begin_large_message(peer: &mut UnixStream) {
    let bytes = text(&"x".repeat(2 * WS_SMALL_MESSAGE_BYTES));
    peer.write_all(&bytes[..WS_SMALL_MESSAGE_BYTES + 40_000]).unwrap();
}

const QUERY: &str = r#"{"event":"ws:m:query","data":{"query":{"tx":"t"},"queryItemType":"Session","x":"..."}}"#;

#[test]
fn a_large_message_that_does_not_arrive_ends_its_client_and_lets_the_next_in() {
    let bench =
        Bench::new(Settings { large_messages_max: 1, large_message_deadline: Duration::from_millis(300), ..patient() });
    let mut holder = bench.connect(b"");
    bench.connected();
    begin_large_message(&mut holder);
    // By its deadline, not that of silence.
    bench.is_gone();
    // The leave is free again: one who says the whole is heard, and is then not hurried any more.
    let mut peer = bench.connect(b"");
    bench.connected();
    peer.write_all(&text(&QUERY.replace("...", &"x".repeat(200_000)))).unwrap();
    assert!(matches!(bench.command(), Command::Query { .. }));
    let silence = bench.commands.as_ref().unwrap().recv_timeout(Duration::from_millis(600));
    assert!(silence.is_err(), "it may be silent as long as others");
}

#[test]
fn one_that_waits_for_leave_gets_it_when_another_is_through() {
    let bench = Bench::new(Settings { large_messages_max: 1, large_message_deadline: DEADLINE / 2, ..patient() });
    let large = text(&QUERY.replace("...", &"x".repeat(200_000)));
    let (mut first, mut second) = (bench.connect(b""), bench.connect(b""));
    let (first_id, _) = bench.connected();
    let (second_id, _) = bench.connected();
    let middle = WS_SMALL_MESSAGE_BYTES + 40_000;
    first.write_all(&large[..middle]).unwrap();
    // More than its socket holds: this ends when it is read.
    let writes = std::thread::Builder::new().spawn(move || {
        second.write_all(&large).unwrap();
        second
    });
    let rest = text(&QUERY.replace("...", &"x".repeat(200_000)))[middle..].to_vec();
    first.write_all(&rest).unwrap();
    let mut asked = Vec::new();
    for _ in 0..2 {
        let Command::Query { client, .. } = bench.command() else { panic!("not a query") };
        asked.push(client);
    }
    asked.sort_unstable();
    let mut both = vec![first_id, second_id];
    both.sort_unstable();
    assert_eq!(asked, both);
    drop(writes.unwrap().join().unwrap());
}

#[test]
fn many_small_messages_and_pings_are_not_a_large_one() {
    // There is no leave to be had.
    let large_message_deadline = Duration::from_millis(1);
    let bench = Bench::new(Settings { large_messages_max: 0, large_message_deadline, ..patient() });
    let mut peer = bench.connect(b"");
    bench.connected();
    let pong = [&[0x8a, 0xfd, 0, 0, 0, 0], [b'p'; 125].as_slice()].concat();
    for bytes in [pong.repeat(WS_SMALL_MESSAGE_BYTES / 50), text(&"x".repeat(10_000)).repeat(30)] {
        peer.write_all(&bytes).unwrap();
    }
    bench.is_silent();
    begin_large_message(&mut peer);
    bench.is_gone();
}

#[test]
fn one_that_asks_much_and_reads_late_is_held_up_and_then_gets_every_answer_in_order() {
    let bench = Bench::new(Settings { answers_owed_max: 4, outbox_frames_max: 8, ..patient() });
    let mut peer = bench.connect(b"");
    bench.connected();
    let count = 5_000;
    let mut asks = peer.try_clone().unwrap();
    let asking = std::thread::Builder::new().spawn(move || {
        for number in 0..count {
            let ping = format!(r#"{{"event":"ws:m:ping","data":{{"number":{number},"x":"{}"}}}}"#, "x".repeat(500));
            asks.write_all(&text(&ping)).unwrap();
        }
    });
    for number in 0..count {
        let answer = &texts(&mut peer, 1)[0];
        assert!(answer.contains(&format!(r#""number":{number},"#)), "{number}: {answer}");
    }
    asking.unwrap().join().unwrap();
    bench.is_silent();
}

#[test]
fn one_that_never_reads_is_given_up_and_holds_nobody_up() {
    // Small ones too: of those, more than may be owed fit into what the socket still holds.
    for ping_bytes in [30, 900] {
        let bench = Bench::new(Settings { write_timeout: Duration::from_millis(200), clients_max: 2, ..patient() });
        let (mut deaf, mut peer) = (bench.connect(b""), bench.connect(b""));
        bench.connected();
        bench.connected();
        let ping = text(&format!(r#"{{"event":"ws:m:ping","data":"{}"}}"#, "x".repeat(ping_bytes)));
        // Until nobody takes any more of it.
        deaf.set_write_timeout(Some(Duration::from_millis(100))).unwrap();
        while deaf.write_all(&ping.repeat(100)).is_ok() {}
        peer.write_all(&ping).unwrap();
        assert_eq!(texts(&mut peer, 1)[0].len(), ping.len() - 14);
        bench.is_gone();
        peer.write_all(&ping).unwrap();
        texts(&mut peer, 1);
        // And its place is free.
        bench.connect_when_free();
    }
}

#[test]
fn when_too_much_is_kept_for_those_who_do_not_read_one_of_them_is_given_up() {
    let bench = Bench::new(Settings { held_bytes_max: 1024 * 1024, ..patient() });
    let peers: Vec<UnixStream> = (0..3).map(|_| bench.connect(b"")).collect();
    let outboxes: Vec<_> = peers.iter().map(|_| bench.connected().1).collect();
    for outbox in &outboxes {
        // What does not fit into the socket is kept.
        assert!(outbox.send(Frame::Text("x".repeat(800_000))));
    }
    bench.is_gone();
    bench.is_gone();
    bench.is_silent();
}

#[test]
fn no_ping_stands_in_the_middle_of_a_snapshot() {
    use crate::roster::Push;
    let bench = Bench::new(Settings { ping_every: Duration::from_millis(1), ..patient() });
    let mut peer = bench.connect(b"");
    let (client, outbox) = bench.connected();
    let rows: Arc<[Arc<str>]> = (0..100_000).map(|number| format!(r#"{{"id":"row {number}"}}"#).into()).collect();
    let push = Push { client, message: message(), room_name: None, read_when_written: Some("b".into()), repeat: false };
    assert!(outbox.send(Frame::Notify { tx: "t".to_owned(), push: Box::new(push) }));
    assert!(outbox.send(Frame::Snapshot { tx: "t".into(), item_type: "Session", rows }));
    let snapshot = loop {
        let text = texts(&mut peer, 1).remove(0);
        if text.contains("query-response") {
            break text;
        }
    };
    let snapshot: serde_json::Value = serde_json::from_str(&snapshot).unwrap();
    assert_eq!(snapshot["data"]["upserts"].as_array().unwrap().len(), 100_000);
}

#[test]
fn one_that_waits_for_leave_gets_it_when_the_one_that_has_it_is_given_up() {
    let deadline = Duration::from_millis(400);
    let bench = Bench::new(Settings { large_messages_max: 1, large_message_deadline: deadline, ..patient() });
    let (mut holder, mut second) = (bench.connect(b""), bench.connect(b""));
    let (holder_id, _) = bench.connected();
    let (second_id, _) = bench.connected();
    begin_large_message(&mut holder);
    let large = text(&QUERY.replace("...", &"x".repeat(200_000)));
    // It begins to wait when the other one's time is half over.
    assert!(bench.commands.as_ref().unwrap().recv_timeout(deadline / 2).is_err());
    let writes = std::thread::Builder::new().spawn(move || {
        second.write_all(&large).unwrap();
        second
    });
    let Command::Disconnect { client } = bench.command() else { panic!("not the end of the first") };
    assert_eq!(client, holder_id);
    let Command::Query { client, .. } = bench.command() else { panic!("not the second's query") };
    assert_eq!(client, second_id);
    let mut second = writes.unwrap().join().unwrap();
    // It has no leave any more that it could be late with.
    assert!(bench.commands.as_ref().unwrap().recv_timeout(deadline * 3 / 2).is_err());
    second.write_all(&text(QUERY)).unwrap();
    assert!(matches!(bench.command(), Command::Query { .. }));
}

#[test]
fn one_who_has_left_keeps_its_place_until_it_is_given_up() {
    let bench = Bench::new(Settings { clients_max: 1, write_timeout: Duration::from_millis(300), ..patient() });
    let first = bench.connect(b"");
    let (_, outbox) = bench.connected();
    assert!(outbox.send(Frame::Text("x".repeat(2_000_000))));
    // It says no more, and does not read.
    first.shutdown(Shutdown::Write).unwrap();
    bench.is_gone();
    let mut refused = bench.connect(b"");
    assert_eq!(refused.read(&mut [0; 8]).unwrap(), 0);
    bench.is_silent();
    bench.connect_when_free();
}

#[test]
fn what_came_with_the_handshake_and_in_single_bytes_is_heard() {
    let bench = Bench::new(patient());
    let bytes = text(QUERY);
    let mut peer = bench.connect(&bytes);
    bench.connected();
    assert!(matches!(bench.command(), Command::Query { .. }));
    for byte in &bytes {
        peer.write_all(&[*byte]).unwrap();
    }
    assert!(matches!(bench.command(), Command::Query { .. }));
    // All that was said before the end is heard, and then the end.
    peer.write_all(&bytes.repeat(3)).unwrap();
    drop(peer);
    for _ in 0..3 {
        assert!(matches!(bench.command(), Command::Query { .. }));
    }
    bench.is_gone();
}

#[test]
fn a_frame_of_many_events_comes_in_few_commands_and_in_order() {
    let bench = Bench::new(patient());
    let mut peer = bench.connect(b"");
    bench.connected();
    let event = |number: usize| format!(r#"{{"item":{{"id":"s{number}"}},"changeType":"SET","itemType":"Session"}}"#);
    let events: Vec<String> = (0..150).map(event).collect();
    let batch = format!(r#"{{"event":"ws:m:event-batch","data":[7,{}]}}"#, events.join(","));
    peer.write_all(&text(&batch)).unwrap();
    let (mut ids, mut commands) = (Vec::new(), 0);
    while ids.len() < 150 {
        let Command::Events { requests, .. } = bench.command() else { panic!("not events") };
        commands += 1;
        ids.extend(requests.into_iter().map(|request| match request {
            Request::PublishSession { session, .. } => session.id.as_str().to_owned(),
            _ => panic!("not a session"),
        }));
    }
    assert_eq!(ids, (0..150).map(|number| format!("s{number}")).collect::<Vec<_>>());
    assert_eq!(commands, 3);
}

#[test]
fn one_that_has_said_all_and_left_before_it_is_looked_at_is_heard_and_gone() {
    let bench = Bench::new(patient());
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    theirs.write_all(&text(QUERY)).unwrap();
    drop(theirs);
    bench.let_in(ours, b"");
    bench.connected();
    assert!(matches!(bench.command(), Command::Query { .. }));
    // Sooner than by its silence.
    let next = bench.commands.as_ref().unwrap().recv_timeout(DEADLINE / 2);
    assert!(matches!(next, Ok(Command::Disconnect { .. })));
}

#[test]
fn more_clients_than_there_is_room_for_are_sent_away_until_one_leaves() {
    let bench = Bench::new(Settings { clients_max: 1, ..patient() });
    let first = bench.connect(b"");
    bench.connected();
    let mut refused = bench.connect(b"");
    assert_eq!(refused.read(&mut [0; 8]).unwrap(), 0);
    drop(first);
    bench.is_gone();
    bench.connect_when_free();
}

#[test]
fn a_snapshot_larger_than_a_write_arrives_whole_with_what_follows_it() {
    let bench = Bench::new(patient());
    let mut peer = bench.connect(b"");
    let (_, outbox) = bench.connected();
    let rows: Arc<[Arc<str>]> = (0..5_000).map(|number| format!(r#"{{"id":"row {number}"}}"#).into()).collect();
    assert!(outbox.send(Frame::Snapshot { tx: "t".into(), item_type: "Session", rows }));
    assert!(outbox.send(Frame::Text("behind".to_owned())));
    let texts = texts(&mut peer, 2);
    let snapshot: serde_json::Value = serde_json::from_str(&texts[0]).unwrap();
    let upserts = snapshot["data"]["upserts"].as_array().unwrap();
    assert_eq!((upserts.len(), &snapshot["data"]["totalCount"]), (5_000, &5_000.into()));
    assert_eq!(upserts[4_999], serde_json::json!({"item": {"id": "row 4999"}, "itemType": "Session"}));
    assert_eq!(texts[1], "behind");
}

#[test]
fn a_good_bye_is_written_behind_what_was_said_before_although_the_store_is_gone() {
    let mut bench = Bench::new(patient());
    let mut peer = bench.connect(b"");
    let (_, outbox) = bench.connected();
    assert!(outbox.send(Frame::Text("last words".to_owned())));
    assert!(outbox.send(Frame::Close(1001)));
    bench.commands = None;
    assert_eq!(texts(&mut peer, 1), ["last words"]);
    let mut close = [0; 4];
    peer.read_exact(&mut close).unwrap();
    assert_eq!(close, [0x88, 2, 0x03, 0xe9]);
    assert_eq!(peer.read(&mut [0; 8]).unwrap(), 0);
}

/// A subscriber's end of its connection, and what the store is told of it.
fn subscribed(bench: &Bench) -> (UnixStream, ClientId, crate::store::Outbox) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    theirs.set_read_timeout(Some(DEADLINE)).unwrap();
    ours.set_nonblocking(true).unwrap();
    let since = Some("run-7".to_owned());
    let (peer, hearing) = ("test".to_owned(), Hearing::default());
    let subscriber = Subscriber { stream: Stream::Unix(ours), peer, hearing, since };
    assert!((bench.subscribe)(subscriber).is_ok());
    let Command::Subscribe { client, outbox, since, .. } = bench.command() else { panic!("no subscriber") };
    assert_eq!(since.as_deref(), Some("run-7"));
    (theirs, client, outbox)
}

fn read_until(peer: &mut UnixStream, text: &str) -> String {
    let mut got = String::new();
    while !got.contains(text) {
        let mut bytes = [0; 256];
        let count = peer.read(&mut bytes).unwrap();
        assert!(count > 0, "the end came before {text:?}, after {got:?}");
        got.push_str(std::str::from_utf8(&bytes[..count]).unwrap());
    }
    got
}

#[test]
fn a_subscriber_is_told_what_there_is_and_now_and_then_that_there_is_nothing() {
    let bench = Bench::new(Settings { keep_alive_every: Duration::from_millis(20), ..patient() });
    let (mut peer, _, outbox) = subscribed(&bench);
    assert!(outbox.send(Frame::Raw(b"id: 1\n\n".to_vec())));
    let got = read_until(&mut peer, ": keep-alive\n\n: keep-alive\n\n");
    let (head, body) = got.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && head.contains("\r\nContent-Type: text/event-stream"), "{head}");
    assert!(!head.contains("Content-Length") && body.contains("id: 1\n\n"), "{got}");
    assert!(outbox.send(Frame::End));
    let mut rest = String::new();
    peer.read_to_string(&mut rest).unwrap();
    bench.is_gone();
}

#[test]
fn a_subscriber_that_leaves_or_speaks_is_gone() {
    let bench = Bench::new(patient());
    let (peer, left, _) = subscribed(&bench);
    let (mut other, spoke, outbox) = subscribed(&bench);
    drop(peer);
    assert!(matches!(bench.command(), Command::Disconnect { client } if client == left));
    other.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    assert!(matches!(bench.command(), Command::Disconnect { client } if client == spoke));
    let mut rest = Vec::new();
    // What it had not read is lost with a reset, or there was nothing to lose.
    let _ = other.read_to_end(&mut rest);
    outbox_is_closed(&outbox);
}

fn outbox_is_closed(outbox: &crate::store::Outbox) {
    let begun = std::time::Instant::now();
    while outbox.send(Frame::Raw(Vec::new())) {
        assert!(begun.elapsed() < DEADLINE, "nobody closes it");
    }
}

#[test]
fn subscribers_take_the_places_of_clients() {
    let bench = Bench::new(Settings { clients_max: 1, ..patient() });
    let (peer, _, _outbox) = subscribed(&bench);
    let mut refused = bench.connect(b"");
    let mut rest = Vec::new();
    refused.read_to_end(&mut rest).unwrap();
    assert!(rest.is_empty());
    drop(peer);
    bench.is_gone();
    bench.connect_when_free();
}
