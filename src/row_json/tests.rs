//! Rows as text and back.

use super::*;
use crate::ids::SessionId;
use crate::model::{Message, Proof, Recipient};
use proptest::prelude::*;

fn round_trip(item_type: ItemType, json: &str) {
    let row = parse_row(item_type, json).unwrap();
    assert_eq!(&*row_text(&row), json);
}

#[test]
fn rows_of_the_recorded_log_come_back_to_the_letter() {
    round_trip(
        ItemType::Session,
        r#"{"connectedAt":1795219453182,"cwd":"/home/alice/proj","host":{"arch":"x86_64","name":"box1","os":"linux"},"id":"aaaaaaaa-1111-4111-8111-111111111111","lastActivityAt":1795219453182,"nickname":"proj@aaaaaaaa","operator":"alice","pid":0,"project":"proj"}"#,
    );
    round_trip(
        ItemType::Room,
        r#"{"createdAt":1,"id":"everyone","kind":{"kind":"auto","source":{"anchor":"everyone"}},"name":"everyone"}"#,
    );
    round_trip(
        ItemType::Room,
        r#"{"createdAt":1,"id":"project:y","kind":{"kind":"auto","source":{"anchor":"project","basename":"y"}},"name":"project:y"}"#,
    );
    round_trip(
        ItemType::Room,
        r#"{"createdAt":1,"description":"d","id":"design-chat","kind":{"kind":"adhoc"},"name":"Design Chat"}"#,
    );
    round_trip(ItemType::RoomMember, r#"{"id":"everyone::a","joinedAt":2,"roomId":"everyone","sessionId":"a"}"#);
    round_trip(
        ItemType::Message,
        r#"{"body":"ghosts?\n\"","fromNick":"y@e","fromSessionId":"e","id":"m","sentAt":3,"toNick":"everyone","toRoomId":"everyone"}"#,
    );
    round_trip(
        ItemType::Session,
        r#"{"connectedAt":1,"cwd":"/x","groups":["a","b:lead"],"id":"s","nickname":"x","pid":0,"presence":{"expiresAt":3,"key":"k","parent":"p"},"process":{"boot":"b","pid":7,"started":9},"project":"x","role":"review"}"#,
    );
    let hash = "0123456789abcdef".repeat(4);
    round_trip(ItemType::Registration, &format!(r#"{{"id":"s","registeredAt":1,"renewedAt":2,"tokenHash":"{hash}"}}"#));
    round_trip(
        ItemType::Message,
        r#"{"body":"b","fromNick":"y","fromSessionId":"e","id":"m","proof":"process","sentAt":3,"toNick":"z","toSessionId":"f"}"#,
    );
    round_trip(
        ItemType::Message,
        r#"{"body":"b","fromNick":"y","fromSessionId":"e","id":"m","replyBy":5,"replySettled":true,"sentAt":3,"toNick":"z","toSessionId":"f"}"#,
    );
    round_trip(ItemType::MessageRead, r#"{"id":"m::e","messageId":"m","readAt":4,"sessionId":"e"}"#);
    let read = r#""id":"m::e","messageId":"m","path":"tools","sessionId":"e","state":"read","times":0}"#;
    round_trip(ItemType::Delivery, &format!(r#"{{"at":4,"evidence":"ack",{read}"#));
    round_trip(ItemType::Delivery, &format!(r#"{{"at":4,{read}"#));
    round_trip(ItemType::Departed, r#"{"cwd":"/x","dueAt":5,"endedAt":3,"id":"s","nickname":"x","operator":"al"}"#);
    round_trip(ItemType::Departed, r#"{"cwd":"","dueAt":5,"endedAt":3,"id":"s","nickname":"x"}"#);
    round_trip(ItemType::Departed, r#"{"cwd":"","dueAt":5,"endedAt":3,"hasMail":false,"id":"s","nickname":"x"}"#);
}

#[test]
fn only_the_id_of_a_session_is_required_and_unknown_fields_are_ignored() {
    let row = parse_session(r#"{"future":{"deep":[1]},"id":"x","nickname":null}"#).unwrap();
    assert_eq!((row.id.as_str(), &*row.nickname, row.pid), ("x", "", 0));
    assert!(parse_session(r#"{"nickname":"x"}"#).is_err());
}

#[test]
fn a_message_has_exactly_one_recipient() {
    let both = r#"{"body":"b","fromSessionId":"e","id":"m","sentAt":3,"toRoomId":"r","toSessionId":"s"}"#;
    let none = r#"{"body":"b","fromSessionId":"e","id":"m","sentAt":3}"#;
    let message = |json| parse_row(ItemType::Message, json);
    assert!(message(both).is_err() && message(none).is_err());
}

proptest! {
    #[test]
    fn any_message_survives_the_round_trip(body in ".*", nick in ".*", sent_at in any::<i64>()) {
        let row = Message {
            id: MessageId::from("m"), from_session_id: SessionId::from("s"), from_nick: nick.as_str().into(),
            to: Recipient::Room(RoomId::from("r")), to_nick: "r".into(), body: body.as_str().into(), sent_at, read_at: None,
            proof: Some(Proof::Token),
            terms: None,
        };
        let Row::Message(read) = parse_row(ItemType::Message, &message_text(&row)).unwrap() else { panic!() };
        prop_assert_eq!(&read.row, &row);
    }
}
