//! Callers who have waited, are told what came, and do not close.

use super::*;
use crate::gate::{Farewells, Terms};

/// row 110
#[test]
fn the_woken_who_do_not_close_take_no_place_of_a_request() {
    const WAITING: usize = 3;
    let gate = running(|settings| {
        settings.connections_max = 1;
        settings.waiters_max = WAITING;
    });
    let farewells = Arc::new(Farewells { over: b"over".to_vec(), stopping: b"stopping".to_vec() });
    let until = Instant::now() + 2 * PATIENCE;
    let park = || {
        let stream = gate.send(GOOD);
        let terms = Terms { until, farewells: farewells.clone(), left: Box::new(|| ()) };
        (stream, gate.next().caller.park(terms).unwrap())
    };
    let waiting: Vec<_> = (0..WAITING).map(|_| park()).collect();
    let mut woken = Vec::new();
    for (mut stream, parked) in waiting {
        let (told, settled) = settle();
        parked.answer(b"wake up".to_vec(), told);
        assert_eq!(rest(&mut stream), "wake up");
        woken.push((stream, settled));
    }
    for _ in 0..WAITING {
        let stream = gate.send(GOOD);
        let Exchange { request, caller } = gate.next();
        assert_eq!(request.counts.evicted, 0);
        caller.answer(b"served".to_vec(), None);
        assert_eq!(rest(stream), "served");
    }
    // Each keeps its place among those who wait: there is none for one more.
    let (one_more, _parked) = park();
    assert_eq!(rest(one_more), "over");
    for (stream, settled) in woken {
        assert!(settled.is_empty(), "it is there");
        drop(stream);
        assert!(settled.recv_timeout(PATIENCE).unwrap());
    }
    gate.stop();
}
