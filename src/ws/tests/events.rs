//! Events of clients, which are owed no answer.

use super::*;

/// row 79
#[test]
fn a_client_that_floods_events_has_a_bounded_share_of_the_stores_queue() {
    let bench = Bench::new(patient());
    let event = |number: usize| {
        text(&format!(
            r#"{{"event":"ws:m:event","data":{{"item":{{"id":"s{number}"}},"changeType":"SET","itemType":"Session"}}}}"#
        ))
    };
    let flood: Vec<u8> = (0..40).flat_map(event).collect();
    let _flooder = bench.connect(&flood);
    bench.connected();
    // The flood lies before the reader. A client that comes behind it is served, though the queue has eight places.
    let _other = bench.connect(&text(QUERY));
    let (mut held, mut others, mut told) = (Vec::new(), 0, Vec::new());
    while others < 2 {
        match bench.command() {
            Command::Events { requests, applied } => {
                told.extend(requests);
                held.push(applied);
            }
            Command::Connect { .. } | Command::Query { .. } => others += 1,
            other => panic!("{other:?}"),
        }
    }
    assert!(held.len() <= crate::limits::WS_UNANSWERED_MAX, "{} commands of one client", held.len());
    // All of it is heard as the store gets on, in order.
    held.clear();
    while told.len() < 40 {
        let Command::Events { requests, .. } = bench.command() else { panic!("not events") };
        told.extend(requests);
    }
    let ids = told.iter().map(|request| match request {
        Request::PublishSession { session, .. } => session.id.as_str().to_owned(),
        other => panic!("{other:?}"),
    });
    assert!(ids.eq((0..40).map(|number| format!("s{number}"))));
}
