//! The gate's thread, driven by hand: when it sleeps, and until when.

use super::super::{Door, Listener};
use super::*;

#[test]
fn an_idle_gate_sleeps_until_somebody_comes() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let settings = Settings::new(vec![Door { kind: DoorKind::Hooks, listener: Listener::Tcp(listener) }], Auth::Off);
    let poll = Poll::new().unwrap();
    let waker = Arc::new(Waker::new(poll.registry(), WAKE).unwrap());
    let (requests, upgrades) = (bounded(1).0, bounded(1).0);
    let ports = Ports {
        requests: super::super::Requests { hooks: requests.clone(), others: requests },
        upgrades,
        stop_asked: bounded(1).1,
        new_tokens: bounded(1).1,
        new_sockets: bounded(1).1,
        exits: bounded(1).0,
    };
    let mut gate = EventLoop::new(settings, poll, waker, ports).unwrap();
    gate.accept();
    assert_eq!(gate.timeout(Instant::now()), None);

    // A silent caller costs one wake-up, at its deadline, and nothing afterwards.
    let caller = std::net::TcpStream::connect(address).unwrap();
    gate.doors[0].is_ready = true;
    gate.accept();
    let timeout = gate.timeout(Instant::now()).unwrap();
    assert!(timeout > limits::REQUEST_DEADLINE / 2 && timeout <= limits::REQUEST_DEADLINE);
    gate.expire(Instant::now() + limits::REQUEST_DEADLINE);
    assert_eq!((gate.timeout(Instant::now()), gate.counts.refused_timeout), (None, 1));
    assert!(gate.connections.is_empty() && gate.by_worth.is_empty() && gate.deadlines.is_empty());
    drop(caller);
}
