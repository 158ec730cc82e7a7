//! What a roster's indexes must be, computed from its rows alone and in the most naive way.

use super::*;
use crate::ids::{MemberId, ReadId, SessionId};
use crate::model::{Doing, Process, Recipient, Step};
use crate::roster::departed::Departures;
use crate::row_json::row_text;
use std::collections::{BTreeMap, BTreeSet};

/// Every row with its place, but for signs of life, which memory may know better than the log.
pub(super) fn contents(roster: &Roster) -> BTreeMap<(ItemType, String), (u64, String)> {
    let place = |row: &Row| {
        let tables = &roster.tables;
        match row {
            Row::Session(stored) => tables.sessions[&stored.row.id].place,
            Row::Room(stored) => tables.rooms[&stored.row.id].place,
            Row::RoomMember(stored) => tables.members[&stored.row.id].place,
            Row::Message(stored) => tables.messages[&stored.row.id].place,
            Row::MessageRead(stored) => tables.reads[&stored.row.id].place,
            Row::Registration(stored) => tables.registrations[&stored.row.id].place,
            Row::Delivery(stored) => tables.deliveries[&stored.row.id].place,
            Row::Departed(stored) => tables.departed[&stored.row.id].place,
        }
    };
    let keyed = |row: Row| ((row.item_type(), row.id().to_owned()), (place(&row), text(&row)));
    roster.rows_in_order().into_iter().map(keyed).collect()
}

/// A row's text without signs of life.
pub(super) fn text(row: &Row) -> String {
    match row {
        Row::Session(stored) => {
            let mut quiet = stored.row.clone();
            (quiet.last_activity_at, quiet.last_tool, quiet.last_tool_at) = (None, None, None);
            quiet.doing = Doing::default();
            row_text(&quiet.into()).to_string()
        }
        row => row_text(row).to_string(),
    }
}

/// Who has not read what, by place.
pub(super) fn unread(roster: &Roster) -> BTreeMap<SessionId, BTreeSet<u64>> {
    let tables = &roster.tables;
    let mut unread: BTreeMap<SessionId, BTreeSet<u64>> = BTreeMap::new();
    for message in tables.messages.values() {
        let row = &message.stored.row;
        let has_read = |session: &SessionId| {
            tables.reads.values().any(|r| r.stored.row.message_id == row.id && r.stored.row.session_id == *session)
        };
        let deliveries = || tables.deliveries.values().filter(|d| d.stored.row.message_id == row.id);
        let is_final = |session: &SessionId| {
            deliveries().any(|d| d.stored.row.session_id == *session && d.stored.row.step.is_final())
        };
        let is_to = |session: &SessionId| row.to == Recipient::Session(session.clone());
        let mut readers: Vec<SessionId> = match &row.to {
            Recipient::Session(session) => {
                Some(session.clone()).filter(|_| row.read_at.is_none()).into_iter().collect()
            }
            Recipient::Room(room) => {
                let members = tables.members.values().filter(|m| m.stored.row.room_id == *room);
                let before = members.filter(|member| member.place < message.place);
                before.map(|m| m.stored.row.session_id.clone()).filter(|s| *s != row.from_session_id).collect()
            }
        };
        // Whoever was handed a message, or for whom it is kept, has it to read whatever room he is in.
        let own = deliveries().map(|d| d.stored.row.session_id.clone());
        readers.extend(own.filter(|session| row.read_at.is_none() || !is_to(session)));
        for reader in readers.into_iter().filter(|reader| !has_read(reader) && !is_final(reader)) {
            unread.entry(reader).or_default().insert(message.place);
        }
    }
    unread
}

/// Holds every index against the rows.
pub(super) fn check(roster: &Roster) {
    check_members(roster);
    check_mail(roster);
    check_room_steps(roster);
    check_names(roster);
    check_presence(roster);
    check_processes(roster);
    check_registrations(roster);
    check_departed(roster);
    let rows = roster.rows_in_order();
    let places: BTreeSet<u64> = contents(roster).values().map(|(place, _)| *place).collect();
    assert_eq!(places.len(), rows.len(), "every row has a place of its own");
}

fn check_members(roster: &Roster) {
    let tables = &roster.tables;
    let mut members_of: BTreeMap<RoomId, BTreeMap<SessionId, MemberId>> = BTreeMap::new();
    let mut rooms_of: BTreeMap<SessionId, BTreeMap<RoomId, MemberId>> = BTreeMap::new();
    for member in tables.members.values() {
        let row = member.stored.row.clone();
        members_of.entry(row.room_id.clone()).or_default().insert(row.session_id.clone(), row.id.clone());
        rooms_of.entry(row.session_id).or_default().insert(row.room_id, row.id);
    }
    assert_eq!(tables.members_of, members_of);
    assert_eq!(tables.rooms_of, rooms_of);
    let mut reads_of: BTreeMap<SessionId, BTreeSet<ReadId>> = BTreeMap::new();
    for read in tables.reads.values() {
        reads_of.entry(read.stored.row.session_id.clone()).or_default().insert(read.stored.row.id.clone());
    }
    assert_eq!(tables.reads_of, reads_of);
    let by_name: BTreeSet<_> =
        tables.rooms.values().map(|r| (r.stored.row.name.clone(), r.stored.row.id.clone())).collect();
    assert_eq!(tables.rooms_by_name, by_name);
}

fn check_mail(roster: &Roster) {
    let (tables, found) = (&roster.tables, roster.tables.mail.inspect());
    let unread = unread(roster);
    assert_eq!(found.unread, unread);
    let mut expected = crate::roster::mailbox::Inspection { unread, ..Default::default() };
    for message in tables.messages.values() {
        let (place, row) = (message.place, &message.stored.row);
        expected.concerning.entry(row.from_session_id.clone()).or_default().insert(place);
        match &row.to {
            Recipient::Session(session) => expected.concerning.entry(session.clone()).or_default().insert(place),
            Recipient::Room(room) => expected.in_room.entry(room.clone()).or_default().insert(place),
        };
        for delivery in tables.deliveries.values().filter(|d| d.stored.row.message_id == row.id) {
            if let Step::Claimed(by) = &delivery.stored.row.step {
                expected.claimed.entry(by.clone()).or_default().insert(place);
            }
        }
        let waiting_for = expected.unread.values().filter(|places| places.contains(&place)).count();
        expected.order.insert(place, (row.id.clone(), row.sent_at, waiting_for));
        let settled = tables.deliveries.values().filter(|d| d.stored.row.message_id == row.id);
        let settled = settled.filter(|d| d.stored.row.step.is_settled()).map(|d| d.stored.row.at).max();
        if waiting_for == 0 {
            expected.read_by_age.insert((row.sent_at.max(settled.unwrap_or(i64::MIN)), place));
        } else {
            expected.unread_by_age.insert((row.sent_at, place));
            expected.expiring.extend(row.expires_at().map(|at| (at, place)));
        }
    }
    assert_eq!(found, expected);
    assert_eq!(roster.counts().messages, tables.messages.len());
    let mut threads = crate::roster::threads::Threads::default();
    tables.messages.values().for_each(|message| threads.insert(&message.stored.row));
    assert_eq!(tables.threads, threads);
    check_replies(roster);
}

fn check_replies(roster: &Roster) {
    let all: Vec<&Message> = roster.tables.messages.values().map(|placed| &placed.stored.row).collect();
    let terms = |row: &Message| row.terms.as_deref().cloned().unwrap_or_default();
    let is_answer = |to: &Message, row: &Message| {
        terms(row).reply_to == Some(to.id.clone()) && row.from_session_id != to.from_session_id
    };
    let expects = |row: &Message| terms(row).reply_by.is_some() && !terms(row).reply_settled;
    let waits = |row: &&&Message| expects(row) && !all.iter().any(|other| is_answer(row, other));
    let expected: BTreeSet<MessageId> = all.iter().filter(waits).map(|row| row.id.clone()).collect();
    let found: BTreeSet<MessageId> = roster.tables.threads.overdue(i64::MAX, usize::MAX).into_iter().collect();
    assert_eq!(found, expected);
    for row in &all {
        let Some(name) = terms(row).client_message_id else { continue };
        let named = roster.tables.threads.named(&row.from_session_id, &name);
        assert!(named.contains(&row.id));
        assert!(named.iter().all(|id| roster.tables.messages.contains_key(id)));
    }
}

fn check_room_steps(roster: &Roster) {
    let steps = crate::roster::tables::RoomSteps::of_rows(&roster.tables);
    assert_eq!(roster.tables.room_steps, steps);
    assert!(steps.of_gone() <= crate::limits::KEPT_FOR_GONE_MAX);
}

fn check_names(roster: &Roster) {
    let tables = &roster.tables;
    let mut holders: BTreeMap<Arc<str>, BTreeSet<SessionId>> = BTreeMap::new();
    for session in tables.sessions.values() {
        let row = &session.stored.row;
        holders.entry(row.nickname.clone()).or_default().insert(row.id.clone());
    }
    assert_eq!(*tables.nicknames.inspect(), holders);
    for (root, names, below) in tables.nicknames.roots() {
        for number in 2..below {
            let name = format!("{root}-{number}");
            let is_kept = tables.departures.named(&name).next().is_some();
            assert!(holders.contains_key(name.as_str()) || is_kept, "{name} is free");
        }
        assert!(below >= 2, "numbers begin with two");
        let numbered = |name: &str| {
            name.strip_prefix(&**root)
                .and_then(|rest| rest.strip_prefix('-'))
                .is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()))
        };
        assert_eq!(names, holders.keys().filter(|name| numbered(name)).count(), "names of the root {root}");
        assert!(names > 0, "{root} is of nobody");
    }
}

fn check_presence(roster: &Roster) {
    let (tables, presence) = (&roster.tables, &roster.tables.presence);
    let mut sessions_of: BTreeMap<ClientId, BTreeSet<SessionId>> = BTreeMap::new();
    let (mut kept, mut silent) = (BTreeSet::new(), BTreeSet::new());
    for session in tables.sessions.values() {
        let row = &session.stored.row;
        match &row.client_id {
            Some(client) => {
                sessions_of.entry(client.clone()).or_default().insert(row.id.clone());
                if !presence.is_connected(client) {
                    kept.insert(row.id.clone());
                }
            }
            None if row.process.is_none() => drop(silent.insert(row.id.clone())),
            None => {}
        }
    }
    let found = presence.inspect();
    assert_eq!(found, (sessions_of, kept, silent, tables.sessions.keys().cloned().collect()));
}

fn check_processes(roster: &Roster) {
    let mut by_process: BTreeMap<Process, BTreeSet<SessionId>> = BTreeMap::new();
    for session in roster.tables.sessions.values() {
        let row = &session.stored.row;
        if let Some(process) = &row.process {
            by_process.entry(process.clone()).or_default().insert(row.id.clone());
        }
    }
    assert_eq!(roster.tables.by_process, by_process);
}

fn check_registrations(roster: &Roster) {
    let tables = &roster.tables;
    let rows: Vec<_> = tables.registrations.values().map(|placed| placed.stored.row.clone()).collect();
    assert_eq!(tables.renewals.inspect(), rows.iter().map(|row| row.id.clone()).collect());
    let tokens: BTreeSet<_> = rows.iter().map(|row| row.token).collect();
    assert_eq!(tables.by_token.keys().copied().collect::<BTreeSet<_>>(), tokens);
    for (token, session) in &tables.by_token {
        assert!(rows.iter().any(|row| row.id == *session && row.token == *token), "{session} has another token");
    }
}

fn check_departed(roster: &Roster) {
    let mut expected = Departures::default();
    for departed in roster.tables.departed.values() {
        expected.insert(&departed.stored.row);
    }
    assert_eq!(roster.tables.departures, expected);
}

/// What must hold between requests: unique nicknames, no ghosts, no empty rooms, but for what a sweep will look at.
pub(super) fn check_rules(roster: &Roster) {
    let tables = &roster.tables;
    let suspected = |item_type: ItemType, id: &str| roster.suspects.contains(&(item_type, Arc::from(id)));
    let mut names = BTreeMap::new();
    for session in tables.sessions.values() {
        let row = &session.stored.row;
        let other = names.insert(row.nickname.clone(), row.id.clone());
        assert!(other.is_none(), "two sessions are called {}", row.nickname);
        assert!(!row.nickname.is_empty());
        let everyone = tables.members.contains_key(MemberId::of(&"everyone".into(), &row.id).as_str());
        assert!(everyone || suspected(ItemType::Session, row.id.as_str()), "{} is not in everyone", row.id);
    }
    for member in tables.members.values() {
        let row = &member.stored.row;
        let sound = tables.sessions.contains_key(&row.session_id) && tables.rooms.contains_key(&row.room_id);
        assert!(sound || suspected(ItemType::RoomMember, row.id.as_str()), "{} is a ghost", row.id);
    }
    for read in tables.reads.values() {
        let row = &read.stored.row;
        let reader = tables.sessions.contains_key(&row.session_id) || row.session_id.is_human();
        let sound = reader && tables.messages.contains_key(&row.message_id);
        assert!(sound || suspected(ItemType::MessageRead, row.id.as_str()), "{} is a ghost", row.id);
    }
    for registration in tables.registrations.values() {
        let row = &registration.stored.row;
        let sound = tables.sessions.contains_key(&row.id);
        assert!(sound || suspected(ItemType::Registration, row.id.as_str()), "{} is registered, and not there", row.id);
        assert_eq!(tables.by_token.get(&row.token), Some(&row.id), "one token means one session");
    }
    for session in tables.sessions.values() {
        let row = &session.stored.row;
        let groups = super::super::groups::all_of(&row.groups);
        let in_groups = groups.iter().all(|group| {
            let room = RoomId::from(super::super::groups::room_id(group));
            tables.members.contains_key(MemberId::of(&room, &row.id).as_str())
        });
        assert!(in_groups || suspected(ItemType::Session, row.id.as_str()), "{} is not in its groups", row.id);
    }
    for departed in tables.departed.values() {
        let row = &departed.stored.row;
        let sound = !tables.sessions.contains_key(&row.id);
        assert!(sound || suspected(ItemType::Departed, row.id.as_str()), "{} is gone, and there", row.id);
    }
    check_mail_of_the_gone(roster);
    for room in tables.rooms.values() {
        let row = &room.stored.row;
        let sound = tables.members_of.contains_key(&row.id) || row.id.as_str() == "everyone";
        assert!(sound || suspected(ItemType::Room, row.id.as_str()), "{} is empty", row.id);
    }
}

/// What was sent here to one who is gone, and is not read, is known as mail that it has left.
fn check_mail_of_the_gone(roster: &Roster) {
    let tables = &roster.tables;
    for (session, places) in tables.mail.inspect().unread {
        let is_gone = !tables.sessions.contains_key(&session) && !session.is_human();
        let is_direct = |row: &Message| matches!(row.to, Recipient::Session(_));
        let came_here = |row: &Message| row.proof.is_some() || row.is_notice();
        let mut messages = tables.messages.values().filter(|placed| places.contains(&placed.place));
        if is_gone && messages.any(|placed| is_direct(&placed.stored.row) && came_here(&placed.stored.row)) {
            let departed = tables.departed.get(&session).map(|placed| &placed.stored.row);
            let is_suspect = roster.suspects.contains(&(ItemType::Departed, session.shared()));
            assert!(is_suspect || departed.is_some_and(|row| row.has_mail), "{session} has left mail: {departed:?}");
        }
    }
    let without_mail = tables.departed.values().filter(|placed| !placed.stored.row.has_mail).count();
    assert!(without_mail <= crate::limits::DEPARTED_WITHOUT_MAIL_MAX + 1, "one is forgotten for each that comes");
}

/// Who is still to read what, and who has read what, of all that concerns those who are there.
#[derive(Debug, Default)]
pub(super) struct Fates {
    waiting: BTreeSet<(MessageId, SessionId)>,
    read: BTreeSet<(MessageId, SessionId)>,
    /// Messages whose senders expect no answer any more.
    answered: BTreeSet<MessageId>,
}

pub(super) fn fates(roster: &Roster) -> Fates {
    let is_there = |session: &SessionId| roster.tables.sessions.contains_key(session) || session.is_human();
    let named = |place: &u64| roster.tables.mail.at(*place).cloned();
    let mut fates = Fates::default();
    for (session, places) in roster.tables.mail.inspect().unread.into_iter().filter(|(session, _)| is_there(session)) {
        fates.waiting.extend(places.iter().filter_map(named).map(|message| (message, session.clone())));
    }
    let overdue: BTreeSet<MessageId> = roster.tables.threads.overdue(i64::MAX, usize::MAX).into_iter().collect();
    let all = roster.tables.messages.keys().filter(|id| !overdue.contains(*id));
    fates.answered.extend(all.cloned());
    for placed in roster.tables.messages.values() {
        let read = roster.deliveries(&placed.stored.row, placed.place).into_iter();
        let read = read.filter(|view| matches!(view.standing, DeliveryStanding::Read(..)));
        fates.read.extend(read.map(|view| (placed.stored.row.id.clone(), view.session)));
    }
    fates
}

/// Whatever was still to be read before a request, and is there, is so after it, or its sender sees what became of it; and
/// what somebody has read it has read, wherever it is now; and what was answered was, also when the answer is deleted.
pub(super) fn check_fates(before: &Fates, roster: &Roster) {
    for (message, session) in &before.waiting {
        let Some(placed) = roster.tables.messages.get(message) else { continue };
        if roster.tables.mail.is_unread(placed.place, session) {
            continue;
        }
        let views = roster.deliveries(&placed.stored.row, placed.place);
        let view = views.iter().find(|view| view.session == *session);
        let is_known = view.is_some_and(|view| !matches!(view.standing, DeliveryStanding::Queued(_)));
        assert!(is_known, "{message} for {session} has gone without a word: {view:?}");
    }
    for message in roster.tables.threads.overdue(i64::MAX, usize::MAX) {
        assert!(!before.answered.contains(&message), "that {message} was answered is forgotten");
    }
    for (message, session) in &before.read {
        let Some(placed) = roster.tables.messages.get(message) else { continue };
        let views = roster.deliveries(&placed.stored.row, placed.place);
        let view = views.iter().find(|view| view.session == *session);
        let is_read = view.is_some_and(|view| matches!(view.standing, DeliveryStanding::Read(..)));
        assert!(is_read, "that {session} has read {message} is forgotten: {view:?}");
    }
}
