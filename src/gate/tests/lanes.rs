//! Full queues, and hooks beside other requests.

use super::*;

/// row 111
#[test]
fn a_full_queue_of_other_requests_refuses_no_hook() {
    let (others, to_serve) = bounded(1);
    let gate = running_with(Some(others), |_| {});
    let listing = GOOD.replace("/hook", "/v1");
    let first = gate.send(&listing);
    // The one that came after it is refused, so that it stands in the queue.
    let refused = rest(gate.send(&listing));
    assert!(refused.starts_with("HTTP/1.1 503 Service Unavailable\r\n"), "{refused}");
    gate.serve_one();
    let listing: Box<Exchange> = to_serve.recv_timeout(PATIENCE).unwrap();
    listing.caller.answer(b"page".to_vec(), None);
    assert_eq!(rest(first), "page");
    gate.stop();
}

#[test]
fn full_queues_are_told_to_callers() {
    let gate = running(|_| {});
    let first = gate.send(HANDSHAKE);
    first.peek(&mut [0]).unwrap();
    let answer = rest(gate.send(HANDSHAKE));
    assert!(answer.starts_with("HTTP/1.1 503 Service Unavailable\r\n"), "{answer}");

    let _waiting = [gate.send(GOOD), gate.send(GOOD)];
    // Once somebody who came after them has been answered, both have been read: only then is the queue full.
    rest(gate.send(&GOOD.replace("localhost", "evil.example")));
    for (request, empty) in [(GOOD.to_owned(), true), (GOOD.replace("/hook", "/v1"), false)] {
        let answer = rest(gate.send(&request));
        assert!(answer.starts_with("HTTP/1.1 503 Service Unavailable\r\n"), "{answer}");
        assert!(answer.contains("\r\nRetry-After: 1\r\n"), "{answer}");
        assert_eq!(answer.ends_with("\r\n\r\n"), empty, "{answer}");
    }
    let (one, two) = (gate.next(), gate.next());
    assert_eq!((one.request.counts.refused_overload, two.request.counts.admitted), (1, 2));
    gate.stop();
}
