//! What WebSocket clients see of a commit.

use super::*;
use crate::model::ItemType;

const SESSIONS: View = View::Items(ItemType::Session);

fn diff_of(frame: &Frame) -> (u64, serde_json::Value) {
    let Frame::Diff { sequence, body, .. } = frame else { panic!("no diff: {frame:?}") };
    (*sequence, serde_json::from_str(&format!("{{{body}}}")).unwrap())
}

#[test]
fn a_row_that_changes_many_times_in_a_batch_is_one_diff_with_one_row() {
    // marshal 0.9 fault 21: every change went out, each twice.
    let (mut bench, outbox) = Bench::with_sessions();
    bench.query("c1", "q", SESSIONS);
    bench.turn();
    frames(&outbox);
    for number in 0..20 {
        bench.task("hook", &format!("task {number}"));
    }
    bench.turn();
    let diffs = frames(&outbox);
    assert_eq!(diffs.len(), 1);
    let (sequence, body) = diff_of(&diffs[0]);
    assert_eq!((sequence, body["upserts"].as_array().unwrap().len()), (1, 1));
    assert_eq!(body["upserts"][0]["item"]["currentTask"], "task 19");
    assert!(body.get("changes").is_none());
}

#[test]
fn a_query_sees_the_batch_that_it_came_with_once_and_no_batch_that_failed() {
    let (mut bench, outbox) = Bench::with_sessions();
    bench.query("c1", "q1", SESSIONS);
    bench.start("third");
    bench.turn();
    let got = frames(&outbox);
    let [Frame::Snapshot { rows, .. }] = &got[..] else { panic!("{got:?}") };
    assert_eq!(rows.len(), 3, "the row is in the snapshot, and not in a diff as well");

    bench.space(Some(0));
    bench.start("fourth");
    bench.query("c1", "q2", SESSIONS);
    bench.turn();
    let got = frames(&outbox);
    let [Frame::Snapshot { rows, .. }] = &got[..] else { panic!("{got:?}") };
    assert_eq!(rows.len(), 3, "what was not stored is not shown");
}

#[test]
fn a_query_that_is_cancelled_in_the_batch_that_it_came_with_is_cancelled() {
    let (mut bench, outbox) = Bench::with_sessions();
    bench.query("c1", "q", SESSIONS);
    bench.batch.push(Command::CancelQuery { client: "c1".into(), tx: "q".to_owned(), applied: Box::new(()) });
    bench.turn();
    frames(&outbox);
    bench.start("third");
    bench.turn();
    assert!(frames(&outbox).is_empty(), "nobody watches any longer");
}

#[test]
fn a_client_that_does_not_take_its_frames_is_disconnected_and_the_sender_is_told_the_truth() {
    // marshal 0.9 fault 18: deliveredLive was true whatever became of the push.
    let (mut bench, _shim) = Bench::with_sessions();
    let full = bench.client("c2", 1);
    bench.publish("c2", "slow");
    bench.turn();
    let (sender, answers) = bounded(8);
    for _ in 0..2 {
        let sender = sender.clone();
        let request = Request::send(Caller::session("hook"), "slow", "x");
        let reply_to: ReplyTo = Box::new(move |result| {
            let Ok(Reply::Sent(sent)) = result else { panic!("{result:?}") };
            sender.send(sent.live.is_some()).unwrap();
        });
        bench.batch.push(Command::Request { request, reply_to: Some(reply_to) });
    }
    bench.happened();
    bench.turn();
    assert_eq!(answers.try_iter().collect::<Vec<_>>(), [true, false], "the outbox had room for one");
    assert!(bench.happened().contains(&Did::Disconnect("c2")));
    assert_eq!(frames(&full).len(), 1);
    assert_eq!(bench.report().counts.clients, 1);
    assert_eq!(bench.rows(), bench.rows_in_log(), "both are stored");
}

#[test]
fn a_broadcast_says_of_each_recipient_whether_its_client_took_it() {
    let (mut bench, shim) = Bench::with_sessions();
    let _full = bench.client("c2", 0);
    bench.publish("c2", "slow");
    bench.turn();
    let (sender, answer) = bounded(1);
    let request =
        Request::Broadcast { caller: Caller::session("hook"), room: "everyone".to_owned(), body: "x".to_owned() };
    let reply_to: ReplyTo = Box::new(move |result| sender.send(result).unwrap());
    bench.batch.push(Command::Request { request, reply_to: Some(reply_to) });
    bench.turn();
    let Ok(Reply::Broadcast(sent)) = answer.try_recv().unwrap() else { panic!() };
    let live: Vec<(&str, bool)> = sent.recipients.iter().map(|(id, _, live)| (id.as_str(), live.is_some())).collect();
    assert_eq!(live, [("shim", true), ("slow", false)]);
    assert_eq!(frames(&shim).len(), 1);
}

#[test]
fn a_client_whose_statement_was_not_stored_is_disconnected_so_that_it_states_it_again() {
    let (mut bench, _outbox) = Bench::with_sessions();
    let _frames = bench.client("c2", 8);
    bench.turn();
    bench.space(Some(0));
    bench.publish("c2", "late");
    bench.happened();
    bench.turn();
    assert_eq!(bench.happened(), [Did::Disk(Op::NoSpace), Did::Disconnect("c2")]);
    assert!(!bench.rows().iter().any(|row| row.contains("late")));
    assert_eq!(bench.report().counts.clients, 1);
}

#[test]
fn watchers_see_signs_of_life_with_the_next_tick_although_nothing_is_written() {
    let (mut bench, outbox) = Bench::with_sessions();
    bench.query("c1", "q", SESSIONS);
    bench.turn();
    frames(&outbox);
    bench.happened();
    for _ in 0..5 {
        bench.prompt("hook");
        bench.turn();
    }
    let seen_at = bench.ms;
    bench.batch.push(Command::Tick);
    bench.turn();
    let diffs = frames(&outbox);
    assert_eq!(diffs.len(), 1, "one for all five, and none for what did not change: {diffs:?}");
    let (_, body) = diff_of(&diffs[0]);
    assert_eq!(body["upserts"].as_array().unwrap().len(), 1);
    assert_eq!(body["upserts"][0]["item"]["lastActivityAt"], seen_at);
    assert!(!bench.happened().contains(&SYNC));
    bench.batch.push(Command::Tick);
    bench.turn();
    assert!(frames(&outbox).is_empty(), "it is told once");
}
