//! Every collision of names: one address means one thing in every place that takes one, or nothing and an error that
//! names what it could mean.

use super::*;
use crate::model::Recipient;
use crate::roster::resolve::Meant;

/// Sessions, rooms and people whose names fit each other in every way.
fn crowd() -> World {
    let mut world = World::new();
    world.start("asker", "/w/asker");
    // Two that began within a minute, of which the first has ended, with mail.
    for (id, nickname) in [("019d2222-1111", "loom@019d2222"), ("019d2222-9999", "loom@019d2222-2")] {
        world.publish(id, id, nickname);
    }
    world.send("asker", "019d2222-1111", "left");
    world.end("019d2222-1111");
    // An id and a nickname that begin alike; a nickname that is the beginning of an id, and one of another name.
    for (id, nickname) in [("be3f0000-1", "mill"), ("k1", "be@1234"), ("k2", "be3f"), ("k3", "mil")] {
        world.publish(id, id, nickname);
    }
    // Spelled in two ways; with what separates addresses; as a room's prefix.
    world.publish("cafe", "cafe", "Cafe\u{301}");
    world.start("comma", "/w/foo,bar");
    world.start("op-ana", "/w/op:ana");
    let report = HookReport { operator: Some("Jose\u{301}".to_owned()), ..report("joses", "/w/x,y") };
    world.ok(Request::session_start(report));
    world.ok(Request::session_start(HookReport { operator: Some("ana".to_owned()), ..super::report("anas", "/w/y") }));
    // Ended: with mail, without any, and two of one name that nobody can write to.
    for (id, nickname) in
        [("gone1-aaaa", "gone"), ("gone2-bbbb", "other"), ("gone3-cccc", "quiet"), ("gone4-dddd", "twin")]
    {
        world.publish(id, id, nickname);
    }
    world.send("asker", "gone1-aaaa", "kept");
    for id in ["gone1-aaaa", "gone2-bbbb", "gone3-cccc", "gone4-dddd"] {
        world.end(id);
    }
    world.publish("gone5-eeee", "gone5-eeee", "twin");
    world.end("gone5-eeee");
    // A name that one had who left nothing, and that another one has now.
    world.publish("heir", "heir", "quiet");
    world.join("k1", "Design Chat");
    world
}

/// An address, and what it means: `here`, `ended`, `human` or `room` with an id; `one of` with ids; `nothing`, with what is
/// offered instead; or `wrong`.
const TABLE: [(&str, &str); 58] = [
    // row 6: an exact name, also of one that has ended, before any beginning.
    ("loom@019d2222", "ended 019d2222-1111"),
    ("loom@019d2222-2", "here 019d2222-9999"),
    ("019d2222-1111", "ended 019d2222-1111"),
    ("019d2222-9999", "here 019d2222-9999"),
    ("019d2222", "one of 019d2222-9999 019d2222-1111"),
    ("019d2222-9", "here 019d2222-9999"),
    ("019d2222-1", "ended 019d2222-1111"),
    ("019", "here 019d2222-9999"),
    ("loom", "here 019d2222-9999"),
    ("loom@019d2222-", "here 019d2222-9999"),
    // row 69: two beginnings, of an id and of a nickname.
    ("be", "one of be3f0000-1 k2 k1"),
    ("be@", "here k1"),
    ("be3f", "here k2"),
    ("be3f0", "here be3f0000-1"),
    ("mil", "here k3"),
    ("mill", "here be3f0000-1"),
    ("mi", "one of k3 be3f0000-1"),
    // row 9: spelled in two ways.
    ("Caf\u{e9}", "here cafe"),
    ("Cafe\u{301}", "here cafe"),
    ("Caf", "here cafe"),
    ("cafe", "here cafe"),
    ("Cafe", "nothing"),
    // Case counts.
    ("ASKER", "nothing"),
    ("Mill", "nothing"),
    // row 8: no name has a comma.
    ("foo_bar@comma", "here comma"),
    ("foo,bar@comma", "nothing"),
    ("foo", "here comma"),
    // row 70: a room's prefix means a room.
    ("op:ana", "room op:ana"),
    ("@op:ana", "room op:ana"),
    ("op:an", "nothing @op:ana"),
    ("op:nobody", "nothing"),
    ("op:Jos\u{e9}", "room op:Jos\u{e9}"),
    ("op:Jose\u{301}", "room op:Jos\u{e9}"),
    ("project:x,y", "room project:x,y"),
    ("project:", "nothing @project:asker @project:foo,bar @project:op:ana @project:x,y @project:y"),
    ("_op:ana@op-ana", "here op-ana"),
    ("everyone", "nothing @everyone"),
    ("@everyone", "room everyone"),
    ("@all", "room everyone"),
    ("*", "room everyone"),
    ("@*", "nothing"),
    ("@design-chat", "room design-chat"),
    ("@Design Chat", "room design-chat"),
    ("design-chat", "nothing @design-chat"),
    ("@asker", "nothing"),
    // People.
    ("human:ana", "human human:ana"),
    ("human:Jose\u{301}", "human human:Jos\u{e9}"),
    ("human:asker", "human human:asker"),
    ("human:", "wrong"),
    ("human:a\u{200b}na", "wrong"),
    ("ana", "here anas"),
    // row 74: known as ended, by id and by name.
    ("gone3-cccc", "ended gone3-cccc"),
    ("gone", "ended gone1-aaaa"),
    ("other", "ended gone2-bbbb"),
    ("quiet", "here heir"),
    ("twin", "one of gone4-dddd gone5-eeee"),
    ("gon", "nothing gone"),
    ("", "nothing"),
];

/// What an address means, in the words of the table.
fn found(world: &World, address: &str) -> String {
    match world.roster.meant(address) {
        Ok(Meant::Here(id)) => format!("here {id}"),
        Ok(Meant::Ended(id)) => format!("ended {id}"),
        Ok(Meant::Human(id)) => format!("human {id}"),
        Ok(Meant::Room(room)) => format!("room {}", room.row.id),
        Err(error) => {
            let candidates = error.candidates.iter().map(|text| text.split(" (").next().unwrap());
            let candidates = candidates.collect::<Vec<_>>().join(" ");
            match error.kind {
                ErrorKind::Ambiguous => format!("one of {candidates}"),
                ErrorKind::NotFound => format!("nothing {candidates}").trim_end().to_owned(),
                _ => "wrong".to_owned(),
            }
        }
    }
}

// row 6, row 8, row 9, row 69, row 70, row 74
#[test]
fn every_address_means_one_thing_or_none_before_and_after_a_restart() {
    let mut world = crowd();
    for (address, expected) in TABLE {
        assert_eq!(found(&world, address), expected, "{address:?}");
    }
    world = world.restarted(0);
    for (address, expected) in TABLE {
        assert_eq!(found(&world, address), expected, "{address:?} after a restart");
    }
}

// row 6, row 10
#[test]
fn every_place_that_takes_an_address_takes_it_for_the_same() {
    for (address, expected) in TABLE {
        let mut world = crowd();
        let (what, whom) = expected.split_once(' ').unwrap_or((expected, ""));
        let kind_of = |world: &mut World, request: Request| match world.apply(request).reply {
            Ok(_) => None,
            Err(error) => Some(error.kind),
        };
        let refused = match expected {
            _ if expected.starts_with("one of") => Some(ErrorKind::Ambiguous),
            _ if what == "nothing" => Some(ErrorKind::NotFound),
            "wrong" => Some(ErrorKind::Invalid),
            _ => None,
        };
        // As a recipient.
        let sent = world.apply(send("asker", address, "m")).reply;
        match (&sent, refused) {
            (Ok(Reply::Sent(sent)), None) => {
                assert_eq!(sent.message.row.to, Recipient::Session(whom.into()), "{address:?}")
            }
            (Ok(Reply::Broadcast(sent)), None) => {
                assert_eq!(sent.message.row.to, Recipient::Room(whom.into()), "{address:?}");
            }
            (Err(error), refused) if address.contains(',') => {
                assert!(refused.is_some() || what == "room", "{address:?}: {error}");
            }
            (Err(error), refused) => assert_eq!(Some(error.kind), refused, "{address:?}: {error}"),
            other => panic!("{address:?}: {other:?}"),
        }
        // As the one who is asked about.
        let query = HistoryQuery { session: Some(address.to_owned()), ..HistoryQuery::default() };
        let of_room = if what == "room" { Some(ErrorKind::Invalid) } else { refused };
        assert_eq!(kind_of(&mut world, Request::History(query)), of_room, "{address:?}");
        // As the one who asks: a session that is here.
        let speaks = match refused {
            None if what == "here" => None,
            Some(ErrorKind::Ambiguous) => Some(ErrorKind::Ambiguous),
            Some(ErrorKind::Invalid) => Some(ErrorKind::Invalid),
            _ => Some(ErrorKind::UnknownCaller),
        };
        let caller = || Caller::session(address);
        let looks = MessageFilter { inbox: true, unread: true, ..MessageFilter::default() };
        for request in [
            Request::send(caller(), "asker", "m"),
            Request::Outbox { caller: caller(), before: None, limit: None },
            Request::ReadMessages { caller: caller(), filter: looks },
        ] {
            assert_eq!(kind_of(&mut world, request), speaks, "{address:?}");
        }
        // What acknowledges, takes over or changes something wants the whole of a name.
        let is_whole = what == "here" && {
            let row = world.session(whom);
            [row.nickname.to_string(), whom.to_owned()].contains(&crate::text::nfc(address).into_owned())
        };
        let takes = if is_whole { None } else { Some(speaks.unwrap_or(ErrorKind::Ambiguous)) };
        for request in [
            Request::AckMessages { caller: caller(), messages: Vec::new() },
            Request::ClaimMail { caller: caller(), from: None },
        ] {
            assert_eq!(kind_of(&mut world, request), takes, "{address:?}");
        }
    }
}

// row 6
#[test]
fn the_mail_of_one_that_ended_is_not_taken_by_the_one_whose_name_begins_like_its_own() {
    let mut world = crowd();
    world.send("asker", "loom@019d2222-2", "for the second");
    let filter = MessageFilter { inbox: true, unread: true, ..MessageFilter::default() };
    let error = world.err(Request::ReadMessages { caller: Caller::session("loom@019d2222"), filter });
    assert_eq!(error.kind, ErrorKind::UnknownCaller);
    assert_eq!(error.to_string(), {
        "asSession 'loom@019d2222' is not on the roster: it has ended \
         (candidates: 019d2222-1111 (loom@019d2222, ended, /w/shim))"
    });
    assert_eq!((world.unread("019d2222-1111"), world.unread("019d2222-9999")), (1, 1));
}

// row 8
#[test]
fn several_addresses_in_one_text_are_each_resolved_when_the_whole_is_none() {
    let mut world = crowd();
    let to = |world: &mut World, address: &str| -> Vec<String> {
        match world.ok(send("asker", address, "m")) {
            Reply::Sent(sent) => vec![sent.message.row.to_nick.to_string()],
            Reply::Broadcast(sent) => vec![sent.message.row.to_nick.to_string()],
            Reply::SentToAll(all) => all.iter().map(|sent| sent.message().row.to_nick.to_string()).collect(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(to(&mut world, "mill,be@1234"), ["mill", "be@1234"]);
    assert_eq!(to(&mut world, "mill, human:ana ,"), ["mill", "ana"]);
    assert_eq!(to(&mut world, "project:foo,bar"), ["project:foo,bar"], "the whole first");
    assert_eq!(world.err(send("asker", "mill,nobody", "m")).kind, ErrorKind::NotFound);
    assert_eq!(world.err(send("asker", "mill,be", "m")).kind, ErrorKind::Ambiguous);
    let many = vec!["human:x"; crate::limits::ADDRESSES_MAX + 1].join(",");
    assert_eq!(world.err(send("asker", &many, "m")).kind, ErrorKind::Invalid, "too long a text for an address");
    let many = vec!["mill"; crate::limits::ADDRESSES_MAX / 2 + 1].join(",");
    assert_eq!(world.err(to_both(&many)).kind, ErrorKind::TooLarge);
}

fn to_both(address: &str) -> Request {
    let to = vec![address.to_owned(), address.to_owned()];
    Request::Send(Box::new(Sending { to, ..Sending::new(caller("asker"), "", "m") }))
}

// row 6
#[test]
fn a_name_that_a_log_gives_to_one_that_ended_and_to_one_that_is_here_is_nobody_s() {
    let mut world = World::new();
    let session = Session { hooks: true, ..Session::new("here".into(), "web", "/w/here", BIRTH) };
    let ended = crate::model::Departed {
        id: "gone".into(),
        nickname: "web".into(),
        cwd: "/w/gone".into(),
        directory: None,
        operator: None,
        ended_at: BIRTH,
        due_at: BIRTH + DAY,
        has_mail: true,
    };
    let message = Message {
        id: "m".into(),
        from_session_id: "human:ana".into(),
        from_nick: "ana".into(),
        to: Recipient::Session("gone".into()),
        to_nick: "web".into(),
        body: "kept".into(),
        sent_at: BIRTH,
        read_at: None,
        proof: None,
        terms: None,
    };
    world.roster.load([session.into(), message.into(), ended.into()], None, world.now);
    assert_eq!(found(&world, "web"), "one of here gone");
    let error = world.err(Request::send(Caller::session("web"), "human:ana", "m"));
    assert_eq!(error.candidates, ["here (web, /w/here)", "gone (web, ended, /w/gone)"]);
    assert_eq!((found(&world, "here"), found(&world, "gone")), ("here here".to_owned(), "ended gone".to_owned()));
}
