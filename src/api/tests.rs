//! The table is held against itself: each field is refused when it is wrong, used when it is right, and said in plain
//! words when it is missing.

use super::fields::Kind;
use super::*;
use crate::error::ErrorKind;
use crate::roster::Caller;
use serde_json::{Value, json};

/// Words of the language and the library that callers know nothing of.
const FOREIGN_WORDS: [&str; 14] = [
    "untagged",
    "enum",
    "struct",
    "variant",
    "invalid type",
    "invalid value",
    "missing field",
    "serde",
    "i64",
    "u32",
    "usize",
    "EOF",
    "`",
    "Option",
];

/// A value that fits, and some that do not.
fn samples(kind: Kind) -> (Value, Vec<Value>) {
    let anything = || vec![json!({"a": 1}), json!([1]), json!(1.5)];
    let (right, more_wrong) = match kind {
        Kind::Text => (json!("x"), vec![json!(""), json!(7), json!(true), json!(["x"])]),
        Kind::AnyText => (json!("x"), vec![json!(7), json!(true), json!(["x"])]),
        Kind::TextIfAny | Kind::Json => return (json!("x"), Vec::new()),
        Kind::Texts => (json!(["x", "y"]), vec![json!("x"), json!(7)]),
        Kind::TextOrTexts => (json!(["x"]), vec![json!(7), json!(true)]),
        Kind::Flag => (json!(true), vec![json!("true"), json!(1)]),
        Kind::Limit => (json!(200), vec![json!(0), json!(201), json!(500), json!(-1), json!("5")]),
        Kind::Count => (json!(500), vec![json!(-1), json!("5")]),
        Kind::Cursor => (json!("7-m"), vec![json!("m"), json!(7), json!("")]),
        Kind::State => (json!("read"), vec![json!("seen"), json!(1)]),
        Kind::Millis => (json!(-5), vec![json!("5"), json!(true)]),
        Kind::Seconds => (json!(60), vec![json!(-1), json!(5_000_000_000_i64), json!("60")]),
        Kind::FlagOrSeconds => (json!(60), vec![json!(-1), json!("yes")]),
        Kind::Priority => (json!("now"), vec![json!("soon"), json!(1), json!("")]),
        Kind::Pid => (json!(77), vec![json!(0), json!(1), json!(-7), json!("77")]),
        Kind::Object => return (json!({"a": [1]}), vec![json!("x"), json!(7), json!([1])]),
    };
    (right, [anything(), more_wrong].concat())
}

fn body_of(operation: &Operation) -> Value {
    let fields = operation.fields().map(|field| (field.name.to_owned(), samples(field.kind).0));
    Value::Object(fields.collect())
}

fn read(operation: &'static Operation, body: &Value) -> Result<Args, RequestError> {
    read_body(operation, body.to_string().as_bytes())
}

fn plain(error: &RequestError) -> &str {
    assert_eq!(error.kind, ErrorKind::Invalid);
    for word in FOREIGN_WORDS {
        assert!(!error.message.contains(word), "'{word}' in: {}", error.message);
    }
    &error.message
}

// row 77
#[test]
fn every_operation_takes_its_fields_by_their_rules_and_says_which_one_is_broken() {
    for operation in OPERATIONS {
        let whole = body_of(operation);
        read(operation, &whole).unwrap_or_else(|error| panic!("{}: {error}", operation.name()));
        for field in operation.fields() {
            let with = |value: Value| {
                let mut body = whole.clone();
                body[field.name] = value;
                read(operation, &body)
            };
            for wrong in samples(field.kind).1 {
                let error = with(wrong.clone()).expect_err(&format!("{} {}: {wrong}", operation.name(), field.name));
                let message = plain(&error);
                assert!(message.contains(&format!("'{}'", field.name)), "{message}");
                assert!(message.ends_with(&format!(": give {}", field.kind.rule())), "{message}");
            }
            let none = with(Value::Null);
            match field.is_needed {
                true => assert!(plain(&none.unwrap_err()).ends_with(&format!("'{}' is missing", field.name))),
                false => drop(none.unwrap()),
            }
        }
    }
}

// row 77
#[test]
fn unknown_fields_are_refused_with_the_nearest_known_one_and_ignored_where_others_expect_that() {
    for operation in OPERATIONS {
        let mut body = body_of(operation);
        body["frobnicate"] = json!({"deep": [1, {"er": null}]});
        match (read(operation, &body), operation.shape) {
            (result, Shape::Theirs) => drop(result.unwrap()),
            (result, Shape::Ours) => {
                let error = result.unwrap_err();
                assert!(plain(&error).contains(" 'frobnicate'; "), "{error}");
            }
        }
    }
    let near = |method: &str, path: &str, name: &str| {
        let (operation, _) = at(method, path).unwrap().unwrap();
        let error = unknown(operation, name);
        (error.message, error.candidates)
    };
    let (message, candidates) = near("POST", "/v1/messages", "reply_to");
    assert_eq!(
        (message.as_str(), candidates),
        ("unknown field 'reply_to'; did you mean 'replyTo'?", vec!["replyTo".to_owned()])
    );
    let (message, _) = near("GET", "/v1/messages", "sesion");
    assert_eq!(message, "unknown parameter 'sesion'; did you mean 'session'?");
    let (message, candidates) = near("GET", "/v1/inbox", "nobody");
    let expected = "unknown parameter 'nobody'; GET /v1/inbox takes session, human, elseHuman, limit";
    assert_eq!((message.as_str(), candidates.len()), (expected, 0));
    assert_eq!(near("GET", "/v1/sessions", "x\n").0, "unknown parameter 'x\\n'; GET /v1/sessions takes none");
}

// row 77
#[test]
fn no_field_of_the_table_is_read_and_then_forgotten() {
    for operation in OPERATIONS {
        let mut body = body_of(operation);
        // These exclude each other.
        for name in ["human", "expiresAt"] {
            body.as_object_mut().unwrap().remove(name);
        }
        let mut args = read(operation, &body).unwrap();
        let who = ["asSession", "elseHuman"].map(|name| operation.fields().any(|field| field.name == name));
        match operation.door {
            Door::Http(..) if who[1] => drop(super::who(&mut args, Caller::default()).unwrap()),
            Door::Http(..) => {}
            // What every command has is taken from the frame.
            Door::Command(_) => ["tx", "asSession", "track"].into_iter().for_each(|name| drop(args.take(name))),
        }
        if let Some(request) = request(operation.op, &mut args, Caller::default()) {
            request.unwrap();
            assert!(args.is_empty(), "{}: {args:?}", operation.name());
        }
    }
}

#[test]
fn a_query_is_read_by_the_same_rules_as_a_body() {
    let (operation, _) = at("GET", "/v1/messages").unwrap().unwrap();
    let of = |query: &[(&str, &str)]| {
        let pairs: Vec<_> = query.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        read_query(operation, &pairs)
    };
    let mut args = of(&[("limit", "5"), ("since", "-7"), ("state", "read"), ("q", "a b"), ("before", "7-m")]).unwrap();
    assert_eq!((args.number("limit"), args.number("since")), (Some(5), Some(-7)));
    assert_eq!((args.text("state").as_deref(), args.text("q").as_deref()), (Some("read"), Some("a b")));
    let table = [
        (("limit", "0"), "'limit' is 0: give a number from 1 to 200"),
        (("limit", "500"), "'limit' is 500: give a number from 1 to 200"),
        (("limit", "x"), "'limit' is x: give a number from 1 to 200"),
        (("session", ""), "'session' is empty: give a text that is not empty"),
        (("since", "1e9"), "'since' is 1e9: give a whole number of milliseconds since 1970"),
        (("before", "m"), "'before' is m: give a cursor that an answer gave"),
        (
            ("human", "ana"),
            "unknown parameter 'human'; GET /v1/messages takes session, room, thread, message, state, q, since, until, after, before, limit",
        ),
    ];
    for (pair, expected) in table {
        assert_eq!(plain(&of(&[pair]).unwrap_err()), expected);
    }
    assert_eq!(plain(&of(&[("q", "a"), ("q", "b")]).unwrap_err()), "'q' is there twice");
    let (post, _) = at("POST", "/v1/messages").unwrap().unwrap();
    let pairs = [("to".to_owned(), "x".to_owned())];
    let expected = "unknown parameter 'to'; POST /v1/messages takes its fields in the body";
    assert_eq!(plain(&read_query(post, &pairs).unwrap_err()), expected);
    let (mesh, _) = at("POST", "/v1/send").unwrap().unwrap();
    assert!(read_query(mesh, &pairs).is_ok(), "claudemesh's clients may say more");
}

#[test]
fn a_body_that_is_no_object_is_refused_by_its_place() {
    let (operation, _) = at("POST", "/v1/messages/ack").unwrap().unwrap();
    let table = [
        ("", "the body ends too early (line 1, column 0)"),
        ("{\"messageIds\":[", "the body ends too early (line 1, column 15)"),
        ("{\"messageIds\":\n nope}", "the body is no JSON (line 2, column 3)"),
        ("{} {}", "the body is no JSON (line 1, column 4)"),
        ("[]", "the body is to be a JSON object"),
        ("[[1],{\"a\":2}]", "the body is to be a JSON object"),
        ("7", "the body is to be a JSON object"),
        ("\"x\"", "the body is to be a JSON object"),
        ("null", "the body is to be a JSON object"),
        ("{\"human\":\"a\",\"messageIds\":[],\"human\":\"b\"}", "'human' is there twice"),
    ];
    for (body, expected) in table {
        assert_eq!(plain(&read_body(operation, body.as_bytes()).unwrap_err()), expected, "{body}");
    }
    let (register, _) = at("POST", "/v1/sessions/register").unwrap().unwrap();
    let mut body = body_of(register);
    body["sessionId"] = "other".into();
    assert_eq!(plain(&read(register, &body).unwrap_err()), "'session_id' is there twice", "under both its names");
}

#[test]
fn paths_lead_to_operations_and_others_say_which_methods_they_take() {
    let op = |method: &str, path: &str| {
        at(method, path).map(|found| found.map(|(operation, rest)| (operation.op, rest.map(str::to_owned))))
    };
    let is = |op, rest: Option<&str>| Some(Ok((op, rest.map(str::to_owned))));
    let takes = |methods: &str| Some(Err(methods.to_owned()));
    assert_eq!(op("GET", "/v1/messages"), is(Op::History, None));
    assert_eq!(op("GET", "/v1/messages/m1"), is(Op::Message, Some("m1")));
    assert_eq!(op("POST", "/v1/messages/ack"), is(Op::Ack, None));
    assert_eq!(op("GET", "/v1/messages/ack"), takes("POST"));
    assert_eq!(op("GET", "/v1/sessions/me"), is(Op::Me, None));
    assert_eq!(op("DELETE", "/v1/sessions/t"), is(Op::Deregister, Some("t")));
    assert_eq!(op("PUT", "/v1/messages"), takes("GET, HEAD, POST"));
    assert_eq!((op("GET", "/v1/messages/"), op("GET", "/v1/nothing"), op("GET", "/v2")), (None, None, None));
    let ids: Vec<Door> = OPERATIONS.iter().map(|operation| operation.door).collect();
    assert!(ids.iter().enumerate().all(|(at, door)| !ids[..at].contains(door)), "each is there once");
}

// row 96
#[test]
fn a_frame_is_read_in_one_pass_whatever_the_order_of_its_members() {
    let command = |text: &str| match read_frame(text)?.data {
        FrameData::Command(frame) => {
            let operation = super::command(&frame.command_id)?;
            Some(frame.command.args(operation).map(|mut args| args.text("body")))
        }
        FrameData::Text(_) => None,
    };
    let body = Some(Ok(Some("x".to_owned())));
    let inner = r#"{"body":"x","toSessionId":"s","tx":"t","more":[{}]}"#;
    let one = format!(r#"{{"event":"ws:m:command","data":{{"command":{inner},"commandId":"SendMessage"}}}}"#);
    let two = format!(r#"{{"data":{{"commandId":"SendMessage","command":{inner}}},"event":"ws:m:command"}}"#);
    assert_eq!(command(&one), body);
    assert_eq!(command(&two), body);
    let none = [
        r#"{"event":"ws:m:command"}"#,
        r#"{"event":"ws:m:command","data":{"command":{}}}"#,
        r#"{"event":"ws:m:command","data":{"command":{},"commandId":7}}"#,
        r#"{"event":"ws:m:command","data":7}"#,
        r#"{"event":7,"data":{}}"#,
        "[]",
        "{",
    ];
    for text in none {
        assert_eq!(command(text), None, "{text}");
    }
    let list = r#"{"event":"ws:m:command","data":{"command":[1],"commandId":"SendMessage"}}"#;
    let expected = "SendMessage: the body is to be a JSON object";
    assert_eq!(plain(&command(list).unwrap().unwrap_err()), expected);
}
