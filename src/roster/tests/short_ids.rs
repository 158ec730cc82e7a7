//! Short ids and cursors: each leads back to its message, as long as nothing is ambiguous.

use super::*;
use crate::roster::HistoryQuery;
use proptest::prelude::*;

fn with_ids(ids: &std::collections::BTreeSet<String>) -> World {
    let mut world = World::new();
    world.start("a", "/w/x");
    world.start("b", "/w/x");
    for id in ids {
        world.pass(1000);
        let sent = world.send("a", "b", "text").message.row.id.clone();
        world.rename(&sent, id);
    }
    world
}

fn history(world: &mut World, query: HistoryQuery) -> crate::roster::HistoryPage {
    match world.ok(Request::History(query)) {
        Reply::History(page) => page,
        other => panic!("{other:?}"),
    }
}

// row 55
#[test]
fn an_id_is_as_short_as_tells_it_from_all_others_and_no_shorter_than_five() {
    let ids = ["0123456789", "0123457", "abc", "abcdefg", "é1234567", "é123é", "1234-678", "12345-78"];
    let world = with_ids(&ids.map(str::to_owned).into());
    let short = |id: &str| world.roster.short_id(&MessageId::from(id));
    let expected = ["0123456", "0123457", "abc", "abcde", "é1234", "é123é", "1234-6", "12345"];
    assert_eq!(ids.map(short), expected);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    // row 55
    #[test]
    fn a_short_id_and_a_cursor_find_their_message_again(
        ids in proptest::collection::btree_set("[ab]{3,12}|[0-9a-f]{8}-[0-9a-f]{4}", 1..12),
    ) {
        let mut world = with_ids(&ids);
        let page = history(&mut world, HistoryQuery::default());
        prop_assert_eq!(page.messages.len(), ids.len());
        for entry in &page.messages {
            let id = &entry.message.row.id;
            prop_assert!(id.as_str().starts_with(&entry.short_id) && !entry.short_id.ends_with('-'));
            // One that another begins with is only found whole.
            let others = ids.iter().filter(|other| other.starts_with(&entry.short_id)).count();
            prop_assert!(others == 1 || entry.short_id == id.as_str());
            let found = history(&mut world, HistoryQuery { message: Some(entry.short_id.clone()), ..HistoryQuery::default() });
            prop_assert_eq!(&found.messages[0].message.row.id, id);
        }
        // Page by page, with the daemon started anew before each: every message once, in order.
        let (mut seen, mut before) = (Vec::new(), None);
        loop {
            world = world.restarted(SECOND);
            let page = history(&mut world, HistoryQuery { before, limit: Some(1), ..HistoryQuery::default() });
            seen.extend(page.messages.iter().map(|entry| entry.message.row.id.to_string()));
            before = page.before.map(|cursor| crate::roster::Cursor::parse(&cursor.to_string()).unwrap());
            if before.is_none() {
                break;
            }
        }
        seen.reverse();
        let expected: Vec<String> = page.messages.iter().map(|entry| entry.message.row.id.to_string()).collect();
        prop_assert_eq!(seen, expected);
    }
}

// row 55
#[test]
fn a_cursor_is_short() {
    let mut world = World::new();
    world.start("a", "/w/x");
    world.start("b", "/w/x");
    for _ in 0..3 {
        world.send("a", "b", "text");
    }
    let page = history(&mut world, HistoryQuery { limit: Some(1), ..HistoryQuery::default() });
    let cursors = [page.before, page.newest].map(|cursor| cursor.unwrap().to_string());
    assert!(cursors.iter().all(|cursor| cursor.len() <= 12), "{cursors:?}");
    for place in [0, 35, 36, 1 << 40, u64::MAX] {
        let cursor = crate::roster::Cursor { place, id: MessageId::from("a-b") };
        assert_eq!(crate::roster::Cursor::parse(&cursor.to_string()), Some(cursor));
    }
}
