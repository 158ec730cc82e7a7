//! The whole product once through: two sessions on one machine exchange messages by curl and by WebSocket, across a
//! kill -9.

mod support;

use serde_json::json;
use support::{Place, Watch};

#[test]
fn two_sessions_exchange_messages_by_hook_and_websocket_across_a_kill() {
    let place = Place::new();
    let daemon = place.start();
    let answer = daemon.start_session("hook-1", "/w/alpha");
    assert!(
        answer.text().starts_with("<marshal_session>You are marshal session_id hook-1 (nickname \"alpha@hook-1\")")
    );

    let mut shim = daemon.connect();
    shim.publish("shim-1", "beta", "/w/beta");
    let answer = shim.command("SendMessage", json!({"toSessionId": "hook-1", "body": "over websocket"}));
    assert_eq!(answer["response"]["toNick"], "alpha@hook-1");
    assert_eq!(answer["response"]["deliveredLive"], false);
    daemon.send("hook-1", "beta", "over http");
    let push = shim.push();
    assert_eq!(push["content"], "marshal: new message from 'alpha@hook-1': over http");

    daemon.kill();
    let daemon = place.start();
    let inbox = daemon.prompt("hook-1");
    assert!(inbox.text().contains("- from beta [shim-1] (message "), "{inbox:?}");
    assert!(inbox.text().contains("over websocket\n"));

    daemon.until_handed("hook-1", 1);
    let mut reads = Watch::start(&daemon, "MessageRead");
    assert_eq!(daemon.prompt("hook-1").text(), "");
    reads.until("receipt", |rows| rows.values().any(|read| read["sessionId"] == "hook-1"));

    let mut shim = daemon.connect();
    shim.publish("shim-1", "beta", "/w/beta");
    let unread = shim.command("ReadMessages", json!({"inbox": true, "unread": true}));
    assert_eq!(unread["response"]["messages"][0]["body"], "over http");
    assert_eq!(daemon.stop(), Some(0));
}
