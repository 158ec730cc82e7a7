//! Whatever is asked in whatever order: indexes follow from rows, rows follow from the log, a batch can be taken back.

use super::*;
use crate::ids::{MemberId, ReadId, SessionId};
use crate::model::{MessageRead, Recipient, Room, RoomKind, RoomMember};
use proptest::prelude::*;
use std::collections::BTreeMap;

const SESSIONS: [&str; 5] = ["a", "ab", "abc", "b", "c"];
const CLIENTS: [&str; 3] = ["k1", "k2", "k3"];
const NAMES: [&str; 6] = ["n", "n-2", "n-1", "m", "", "n-3"];
const ROOMS: [&str; 5] = ["R one", "r-one", "two", "everyone", "project:x"];
const ADDRESSES: [&str; 9] = ["a", "ab", "b", "n", "n-2", "human:al", "@two", "@everyone", "@g/h"];

/// One step: what to do, and three numbers to choose with.
type Step = (u8, usize, usize, usize);

fn pick<'a>(from: &[&'a str], number: usize) -> &'a str {
    from[number % from.len()]
}

/// The log, as somebody would read it back who knows nothing but lines.
type Log = BTreeMap<(ItemType, String), String>;

struct Run {
    world: World,
    log: Log,
    /// The rows when the batch began.
    before: BTreeMap<(ItemType, String), (u64, String)>,
    log_before: Log,
    messages: Vec<MessageId>,
}

impl Run {
    fn new() -> Self {
        let world = World::new();
        Self { world, log: Log::new(), before: BTreeMap::new(), log_before: Log::new(), messages: Vec::new() }
    }

    fn step(&mut self, (kind, a, b, c): Step) {
        match kind {
            0..=28 => self.request(hooks_and_shims(kind, a, b, c, self.world.now)),
            29 => self.request(registry(a, b, c)),
            30..=59 => {
                let request = self.messaging(kind, a, b, c);
                self.request(request);
            }
            60..=69 => self.external(kind, a, b, c),
            70..=74 => self.world.pass([1, SECOND, 11 * SECOND, MINUTE + 1, HOUR][a % 5]),
            75 => self.world.jump([DAY, -DAY, -MINUTE][a % 3]),
            76 => self.restart_or_age(a, b),
            77..=78 => self.request(registry(a, b, c)),
            79..=84 => self.request(Request::Sweep { settled: true }),
            85..=94 => self.commit(),
            _ => self.roll_back(),
        }
        model::check(&self.world.roster);
        model::check_rules(&self.world.roster);
    }

    fn request(&mut self, request: Request) {
        let (rows, length) = (model::contents(&self.world.roster), self.world.roster.journal().len());
        let unread = model::unread(&self.world.roster);
        let living = living(&self.world.roster, &request);
        let is_outside = matches!(request, Request::External(_));
        let fates = if is_outside { model::Fates::default() } else { model::fates(&self.world.roster) };
        let outcome = self.world.apply(request);
        model::check_fates(&fates, &self.world.roster);
        if let Some(living) = living {
            assert_eq!(processes(&self.world.roster), living, "a process takes its sessions along, and time does not");
        }
        match outcome.reply {
            Err(_) => {
                assert_eq!(self.world.roster.journal().len(), length);
                assert_eq!(model::contents(&self.world.roster), rows);
            }
            Ok(Reply::Hook(reply)) => {
                let stored = reply.session.unwrap();
                assert_eq!(*stored.row.nickname, *self.world.nickname(stored.row.id.as_str()));
            }
            Ok(Reply::Sent(sent)) => self.sent(&sent.message.row, unread),
            Ok(Reply::Broadcast(sent)) => self.sent(&sent.message.row, unread),
            Ok(Reply::SentToAll(all)) => self.messages.extend(all.iter().map(|sent| sent.message().row.id.clone())),
            Ok(_) => {}
        }
    }

    /// The daemon crashes after a commit and comes back, or half a month passes.
    fn restart_or_age(&mut self, a: usize, b: usize) {
        if a.is_multiple_of(3) {
            self.world.pass(15 * DAY);
            return;
        }
        self.commit();
        let mut again = self.world.restarted([0, 9 * SECOND, HOUR][b % 3]);
        std::mem::swap(&mut again.ids, &mut self.world.ids);
        again.roster.doors_opened(again.now);
        self.world = again;
        self.before = model::contents(&self.world.roster);
    }

    /// A new message is unread for those for whom it was sent, and changes nothing else.
    fn sent(&mut self, message: &Message, mut unread: BTreeMap<SessionId, std::collections::BTreeSet<u64>>) {
        self.messages.push(message.id.clone());
        if message.terms.as_ref().is_some_and(|terms| terms.supersedes.is_some()) {
            return;
        }
        let tables = &self.world.roster.tables;
        let place = tables.messages[&message.id].place;
        match &message.to {
            Recipient::Session(session) => drop(unread.entry(session.clone()).or_default().insert(place)),
            Recipient::Room(room) => {
                for session in tables.members_of[room].keys().filter(|s| **s != message.from_session_id) {
                    unread.entry(session.clone()).or_default().insert(place);
                }
            }
        }
        assert_eq!(tables.mail.inspect().unread, unread);
    }

    fn messaging(&self, kind: u8, a: usize, b: usize, c: usize) -> Request {
        let who = if c.is_multiple_of(7) { "human:al" } else { pick(&SESSIONS, a) };
        let some: Vec<MessageId> = self.messages.iter().rev().skip(b % 4).take(1 + c % 4).cloned().collect();
        match kind {
            30..=36 => on_terms(who, &[pick(&ADDRESSES, b), pick(&ADDRESSES, b + c)][..1 + a % 2], &some, c),
            37..=41 => broadcast(who, pick(&ROOMS, b), "m"),
            42..=47 => join(who, pick(&ROOMS, b)),
            48..=50 => leave(who, pick(&ROOMS, b)),
            51..=54 => ack(who, &some.iter().collect::<Vec<_>>()),
            55..=57 => Request::InboxHanded {
                session: who.into(),
                messages: some,
                path: crate::model::Path::Prompt,
                lease: self.world.roster.tables.mail.last_lease(),
                arrival: [Arrival::Whole, Arrival::Unsure, Arrival::NotGiven][c % 3],
            },
            58 if b.is_multiple_of(2) => Request::ClaimMail {
                caller: caller(who),
                from: c.is_multiple_of(3).then(|| pick(&SESSIONS, b / 2).to_owned()),
            },
            58 if a.is_multiple_of(2) => {
                Request::Requeue { caller: caller(who), message: some.first().cloned().unwrap_or("none".into()) }
            }
            58 => Request::ReadMessages { caller: caller(who), filter: MessageFilter::default() },
            _ => Request::History(HistoryQuery { session: Some(who.to_owned()), ..HistoryQuery::default() }),
        }
    }

    fn external(&mut self, kind: u8, a: usize, b: usize, c: usize) {
        let message = || self.messages.iter().rev().nth(b % 4).map_or("none".to_owned(), MessageId::to_string);
        let event = match kind {
            60..=62 => ExternalEvent::Set(external_session(a, b, c, self.world.now).into(), None),
            63 => ExternalEvent::Set(external_member(a, b).into(), None),
            64 => ExternalEvent::Set(external_room(b).into(), None),
            65 => ExternalEvent::Set(external_read(&message(), pick(&SESSIONS, a)).into(), None),
            66 => ExternalEvent::Set(external_message(a, b, c, self.world.now).into(), None),
            67 => ExternalEvent::Delete(ItemType::Session, pick(&SESSIONS, a).to_owned()),
            68 if c.is_multiple_of(2) => ExternalEvent::Set(external_departed(a, b, self.world.now).into(), None),
            68 => ExternalEvent::Delete(ItemType::Message, message()),
            _ => match c % 3 {
                0 => ExternalEvent::Delete(ItemType::RoomMember, external_member(a, b).id.to_string()),
                1 => ExternalEvent::Delete(ItemType::Room, external_room(b).id.to_string()),
                _ => ExternalEvent::Delete(ItemType::MessageRead, format!("{}::{}", message(), pick(&SESSIONS, a))),
            },
        };
        // An outsider's line is in the log before it is read from there.
        self.commit();
        match &event {
            ExternalEvent::Set(row, _) => {
                if let Row::Message(stored) = row {
                    self.messages.push(stored.row.id.clone());
                }
                self.log.insert((row.item_type(), row.id().to_owned()), model::text(row));
            }
            ExternalEvent::Delete(item_type, id) => drop(self.log.remove(&(*item_type, id.clone()))),
        }
        self.request(Request::External(vec![event]));
        self.commit();
    }

    /// What was written, folded, is what there is, and a daemon that starts from it is in the same state.
    fn commit(&mut self) {
        for change in self.world.roster.commit().into_iter().filter(|change| change.persist) {
            let key = (change.item_type(), change.id().to_owned());
            match &change.after {
                Some((row, _)) => drop(self.log.insert(key, model::text(row))),
                None => drop(self.log.remove(&key)),
            }
        }
        self.before = model::contents(&self.world.roster);
        self.log_before = self.log.clone();
        let rows: Log = self.before.iter().map(|(key, (_, text))| (key.clone(), text.clone())).collect();
        assert_eq!(self.log, rows, "the log describes the roster");
        let again = self.world.restarted(0);
        model::check(&again.roster);
        let names = |roster: &Roster| {
            let unread = roster.tables.mail.inspect().unread.into_iter();
            let order = roster.tables.mail.inspect().order;
            unread.map(|(s, places)| (s, places.iter().map(|p| order[p].0.clone()).collect())).collect()
        };
        let (here, there): (BTreeMap<SessionId, Vec<MessageId>>, BTreeMap<_, _>) =
            (names(&self.world.roster), names(&again.roster));
        assert_eq!(here, there, "the same is unread after a restart");
    }

    fn roll_back(&mut self) {
        self.world.roster.roll_back();
        assert_eq!(model::contents(&self.world.roster), self.before);
        self.log = self.log_before.clone();
    }
}

/// A message on terms that `number` chooses, about some of those that were sent.
fn on_terms(from: &str, to: &[&str], some: &[MessageId], number: usize) -> Request {
    let about = some.first().map(MessageId::to_string);
    let wishes = Wishes {
        client_message_id: number.is_multiple_of(3).then(|| format!("k{}", number % 4)),
        reply_to: about.clone().filter(|_| number % 4 == 1),
        expects_reply_ms: number.is_multiple_of(5).then_some(MINUTE),
        supersedes: about.filter(|_| number % 6 == 1),
        expires: (number % 6 == 2).then_some(Expiry::In(MINUTE)),
        ..Wishes::default()
    };
    let to = to.iter().map(|to| (*to).to_owned()).collect();
    Request::Send(Box::new(Sending { caller: caller(from), to, body: "m".to_owned(), wishes }))
}

/// Each session that has a process, with that.
fn processes(roster: &Roster) -> BTreeMap<SessionId, Process> {
    let sessions = roster.tables.sessions.values().map(|placed| &placed.stored.row);
    sessions.filter_map(|row| Some((row.id.clone(), row.process.clone()?))).collect()
}

/// What [`processes`] must be after a request, if it is one that concerns them.
fn living(roster: &Roster, request: &Request) -> Option<BTreeMap<SessionId, Process>> {
    let mut living = processes(roster);
    match request {
        Request::ProcessGone(gone) => living.retain(|_, process| process != gone),
        Request::Sweep { .. } | Request::ClientGone(_) | Request::WithdrawSession { .. } => {}
        Request::PublishSession { .. } | Request::External(_) => {
            living.retain(|id, _| !matches!(request, Request::External(events) if deletes(events, id)));
        }
        _ => return None,
    }
    Some(living)
}

fn deletes(events: &[ExternalEvent], session: &SessionId) -> bool {
    let deleted = |event: &ExternalEvent| matches!(event, ExternalEvent::Delete(ItemType::Session, id) if *session.as_str() == **id);
    events.iter().any(deleted)
}

fn hooks_and_shims(kind: u8, a: usize, b: usize, c: usize, now: Now) -> Request {
    let (id, client) = (pick(&SESSIONS, a), pick(&CLIENTS, b));
    let session = Session {
        operator: Some(pick(&["al", "bo"], c).into()),
        channels_enabled: c.is_multiple_of(5).then_some(true),
        ..Session::new(id.into(), pick(&NAMES, c), pick(&["/w/x", "/w/y"], b), now.wall_ms)
    };
    match kind {
        0..=4 => Request::session_start(HookReport {
            host: c.is_multiple_of(2).then(|| host(pick(&["h1", "h2"], c / 2))),
            process: c.is_multiple_of(3).then(|| process((c % 4) as u32)),
            ..report(id, pick(&["/w/x", "/w/y", ""], b))
        }),
        5..=10 => Request::prompt_submit(report(id, "/w/x")),
        11 => Request::prompt_submit(report_in(id, process((c % 4) as u32))),
        12..=13 => Request::session_end(id.into()),
        14..=18 => stated(client, session),
        19 => Request::WithdrawSession { client: client.into(), session: id.into() },
        20..=22 => Request::ClientConnected(client.into()),
        23..=24 => Request::ClientGone(client.into()),
        25 => update(id, SessionChange::LastActivityAt(now.wall_ms)),
        26 => update(id, SessionChange::LastTool(Some("t".to_owned()))),
        27 => update(id, SessionChange::CurrentTask(Some(c.to_string()))),
        28 if c.is_multiple_of(4) => Request::ListSessions,
        28 => Request::ProcessGone(process((c % 4) as u32)),
        _ => Request::ListRooms,
    }
}

fn registry(a: usize, b: usize, c: usize) -> Request {
    let token = token((b % 3) as u8);
    let caller = Caller { token: Some(Box::new(token)), ..Caller::default() };
    match c % 8 {
        0 => Request::Deregister(token),
        1 => Request::Me(caller),
        2 => Request::send(Caller { as_session: Some(pick(&SESSIONS, a).into()), ..caller }, "@g", "m"),
        _ => Request::Register(Box::new(Registering {
            process: c.is_multiple_of(3).then(|| process(c as u32)),
            groups: [vec![], vec!["g".to_owned()], vec!["@g/h:lead".to_owned()], vec!["x".to_owned()]][c / 8 % 4]
                .clone(),
            ..registering(pick(&SESSIONS, a), pick(&NAMES, c), token)
        })),
    }
}

fn external_session(a: usize, b: usize, c: usize, now: Now) -> Session {
    Session {
        client_id: c.is_multiple_of(3).then(|| pick(&CLIENTS, b).into()),
        project: Some(pick(&["x", "y"], b).into()),
        ..Session::new(pick(&SESSIONS, a).into(), pick(&NAMES, c), "/w/x", now.wall_ms)
    }
}

fn external_departed(a: usize, b: usize, now: Now) -> crate::model::Departed {
    let at = now.wall_ms;
    let (nickname, cwd) = (pick(&["x", "y"], b).into(), pick(&["/w/x", ""], b).into());
    crate::model::Departed {
        id: pick(&SESSIONS, a).into(),
        nickname,
        cwd,
        directory: None,
        operator: None,
        ended_at: at,
        due_at: at,
        has_mail: !b.is_multiple_of(3),
    }
}

fn external_member(a: usize, b: usize) -> RoomMember {
    let (room_id, session_id) =
        (RoomId::from(pick(&["r-one", "two", "everyone"], b)), SessionId::from(pick(&SESSIONS, a)));
    RoomMember { id: MemberId::of(&room_id, &session_id), room_id, session_id, joined_at: BIRTH }
}

fn external_room(b: usize) -> Room {
    let (id, kind) = match b % 3 {
        0 => ("everyone", RoomKind::Everyone),
        1 => ("two", RoomKind::AdHoc),
        _ => ("project:x", RoomKind::Project("x".into())),
    };
    Room { id: id.into(), name: id.into(), description: None, kind, created_at: BIRTH }
}

fn external_read(message: &str, session: &str) -> MessageRead {
    let (message_id, session_id) = (MessageId::from(message), SessionId::from(session));
    MessageRead {
        id: ReadId::of(&message_id, &session_id),
        message_id,
        session_id,
        read_at: BIRTH,
        evidence: None,
        path: None,
    }
}

fn external_message(a: usize, b: usize, c: usize, now: Now) -> Message {
    let to = match b % 2 {
        0 => Recipient::Session(pick(&SESSIONS, c).into()),
        _ => Recipient::Room(pick(&["two", "everyone"], c).into()),
    };
    Message {
        id: format!("e{}", a % 3).into(),
        from_session_id: pick(&SESSIONS, b).into(),
        from_nick: "f".into(),
        to,
        to_nick: "t".into(),
        body: "m".into(),
        sent_at: now.wall_ms,
        read_at: None,
        proof: None,
        terms: None,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn indexes_follow_from_rows_and_rows_from_the_log(
        steps in prop::collection::vec((0u8..100, 0usize..64, 0usize..64, 0usize..64), 1..80)
    ) {
        let mut run = Run::new();
        for step in steps {
            run.step(step);
        }
        run.commit();
    }
}
