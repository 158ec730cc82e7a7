//! Nothing in the store grows with clients, subscribers, waiters and processes that are gone.

use super::*;
use crate::held::{grown, held};
use crate::model::{ItemType, Process};
use std::collections::BTreeMap;

fn process(pid: u32) -> Process {
    Process { pid, started: 1, boot: "boot".into() }
}

impl Bench {
    fn parts(&self) -> BTreeMap<String, usize> {
        let mut parts = held(&self.store.hub);
        parts.extend(held(&self.store.events));
        // The last events, of which there is a fixed number.
        parts.retain(|part, _| !part.starts_with("kept") && !part.is_empty());
        parts.insert("ended processes".to_owned(), self.store.processes.ended().len());
        parts.insert("waiters".to_owned(), self.store.waiters.len());
        parts
    }

    /// A session with a process, whose shim watches, whose subscriber listens, and for which somebody waits.
    fn come_and_go(&mut self, number: u32) {
        let id = format!("s{number}");
        let report = || HookReport { session_id: id.clone(), process: Some(process(number)), ..HookReport::default() };
        self.ask("start", Request::session_start(report()));
        let frames = self.client("c", 64);
        self.publish("c", &format!("shim{number}"));
        self.query("c", "q", View::Items(ItemType::Session));
        self.query("c", "n", View::Nicknames);
        let heard = self.subscriber("k", &id);
        let event = Box::new(crate::roster::HookEvent { report: report(), ..Default::default() });
        let request = Request::Wait { event, at_least: crate::model::Priority::Now };
        self.batch.push(Command::Wait { request, waiter: Box::new(super::events::Patient) });
        self.turn();
        self.send(&id, &format!("shim{number}"));
        self.send(&format!("shim{number}"), &id);
        self.turn();
        if number.is_multiple_of(2) {
            self.batch.push(Command::Disconnect { client: "k".into() });
        }
        self.batch.push(Command::ProcessEnded(process(number)));
        self.batch.push(Command::Disconnect { client: "c".into() });
        self.turn();
        self.batch.push(Command::Disconnect { client: "k".into() });
        self.ms += crate::limits::CLIENT_GRACE_MS;
        self.batch.push(Command::Tick);
        self.turn();
        drop((frames, heard));
    }

    fn subscriber(&mut self, client: &str, id: &str) -> Receiver<Box<Frame>> {
        let (sender, frames) = bounded(64);
        let outbox = Outbox::new(sender, Box::new(|| {}));
        let limit = Some(crate::roster::Limit { session: id.into(), token: None });
        let hearing = Hearing { limit, known: Known::Unproven };
        self.batch.push(Command::Subscribe { client: client.into(), outbox, hearing, since: None });
        frames
    }
}

#[test]
fn nothing_in_the_store_grows_with_what_is_gone() {
    // row 113
    let mut bench = Bench::new();
    bench.start("steady");
    bench.turn();
    bench.come_and_go(0);
    let before = bench.parts();
    for number in 1..50 {
        bench.come_and_go(number);
    }
    assert_eq!(grown(&before, &bench.parts()), [""; 0]);
}
