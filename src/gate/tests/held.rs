//! Who is closed when the gate holds too many bytes.

use super::*;

#[test]
fn when_too_many_bytes_are_held_the_oldest_unfinished_request_is_closed() {
    let gate = running(|settings| settings.held_bytes_max = 100_000);
    let half = "POST /hook/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 70000\r\n\r\n".to_owned();
    let half = half + &"x".repeat(60_000);
    let (mut first, mut second) = (gate.send(&half), gate.send(&half));
    assert!(!matches!(first.read(&mut [0]), Ok(1..)), "closed or reset");
    second.write_all(&[b'x'; 10_000]).unwrap();
    let Exchange { request, caller } = gate.next();
    assert_eq!((request.body.len(), request.counts.evicted), (70_000, 1));
    caller.answer(b"second".to_vec(), None);
    assert_eq!(rest(second), "second");
    // What is gone does not count any more.
    for _ in 0..3 {
        let mut next = gate.send(&half);
        next.write_all(&[b'x'; 10_000]).unwrap();
        let Exchange { request, caller } = gate.next();
        assert_eq!(request.counts.evicted, 1);
        caller.answer(b"next".to_vec(), None);
        assert_eq!(rest(next), "next");
    }
    gate.stop();
}

#[test]
fn when_too_many_bytes_are_held_the_oldest_answer_that_nobody_takes_goes_at_any_age() {
    const LARGE: usize = 16 * 1024 * 1024;
    let gate = running(|settings| {
        settings.held_bytes_max = LARGE - 1;
        settings.answer_patience = Duration::from_secs(3600);
        settings.answer_deadline = 2 * settings.answer_patience;
    });
    // It has its whole answer and has not closed yet: nothing is held for it, and it is not closed.
    let mut stays = gate.send(GOOD);
    let (told, stays_settled) = settle();
    gate.next().caller.answer(b"answer".to_vec(), Some(told));
    assert_eq!(rest(&mut stays), "answer");

    let _never_reads = gate.send(GOOD);
    let (told, settled) = settle();
    gate.next().caller.answer(vec![b'x'; LARGE], Some(told));
    // Who only comes is no reason to close it: once this one is refused, the one that connected before has been seen.
    let mut next = gate.connect();
    rest(gate.send(&GOOD.replace("localhost", "evil.example")));
    next.write_all(GOOD.as_bytes()).unwrap();
    let Exchange { request, caller } = gate.next();
    assert_eq!(request.counts.evicted, 0, "one answer may be longer than the bound");
    assert!(settled.is_empty());
    let (told, next_settled) = settle();
    caller.answer(vec![b'y'; LARGE], Some(told));
    assert!(!settled.recv_timeout(PATIENCE).unwrap(), "nobody saw it arrive");
    assert!(rest(&mut next) == "y".repeat(LARGE));
    drop((next, stays));
    assert!(next_settled.recv_timeout(PATIENCE).unwrap() && stays_settled.recv_timeout(PATIENCE).unwrap());
    gate.stop();
}
