//! The guard against two programs that answer each other for ever: it counts how often the turn to speak has gone from one
//! to another, and time lets it forget. Pure arithmetic on given moments; it must not know what is said, and what it keeps
//! is bounded whoever comes.

use crate::error::{ErrorKind, RequestError};
use crate::ids::{MessageId, SessionId};
use crate::limits::{LOOP_SPEAKERS_MAX, LOOP_TURNS_MAX, LOOP_WINDOW_MS, LOOPS_KNOWN_MAX};
use crate::time::MonoMs;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

/// Thousandths of a turn.
const TURN: i64 = 1000;
const FULL: i64 = LOOP_TURNS_MAX as i64 * TURN;

/// Among whom, or in what, messages go to and fro.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Circle {
    /// Two sessions, the smaller id first.
    Pair(SessionId, SessionId),
    /// A thread.
    Thread(MessageId),
}

impl Circle {
    pub(super) fn pair(a: &SessionId, b: &SessionId) -> Self {
        let (first, second) = if a < b { (a, b) } else { (b, a) };
        Self::Pair(first.clone(), second.clone())
    }
}

#[derive(Clone, Debug)]
struct Level {
    /// Who spoke last.
    last: SessionId,
    /// How often the turn has changed, in thousandths, less what time has let go, at that moment.
    turns: i64,
    /// On the monotonic clock, in milliseconds.
    at: MonoMs,
    /// The last sessions that spoke in a thread; a human's word to any of them ends the loop.
    speakers: VecDeque<SessionId>,
}

impl Level {
    fn turns(&self, now: MonoMs) -> i64 {
        let since = (now - self.at).max(0);
        (self.turns - since.saturating_mul(FULL) / LOOP_WINDOW_MS).max(0)
    }

    /// The first moment at which nothing is left of it.
    fn over_at(&self) -> MonoMs {
        self.at + ((self.turns * LOOP_WINDOW_MS + FULL - 1) / FULL)
    }
}

/// All circles in which somebody has spoken lately.
#[derive(Debug, Default)]
pub(super) struct Loops {
    is_on: bool,
    levels: HashMap<Circle, Level>,
    /// The same circles by when they are over, so that nobody who speaks has all of them looked at.
    ending: BTreeSet<(MonoMs, Circle)>,
    /// The pairs that a session is in, so that a human who writes to one has no others looked at.
    pairs_of: BTreeMap<SessionId, BTreeSet<SessionId>>,
    /// The threads that a session has spoken in lately.
    threads_of: BTreeMap<SessionId, BTreeSet<MessageId>>,
    /// How many circles a human's words have had looked at, for a test of the claim above.
    #[cfg(test)]
    looks: usize,
}

impl Loops {
    /// Guards from now on, or does not.
    pub(super) fn guard(&mut self, is_on: bool) {
        self.is_on = is_on;
    }

    /// Whether `sender` may speak in these circles.
    ///
    /// # Errors
    /// The turn has changed too often in one of them; the error says what to do.
    pub(super) fn check(&self, circles: &[Circle], sender: &SessionId, now: MonoMs) -> Result<(), RequestError> {
        let known = circles.iter().filter_map(|circle| self.levels.get(circle)).filter(|level| level.last != *sender);
        let most = known.map(|level| level.turns(now)).max().unwrap_or(0);
        if self.is_on && most + TURN > FULL { Err(too_many(most + TURN - FULL)) } else { Ok(()) }
    }

    /// Notes that `sender` has spoken in these circles.
    pub(super) fn note(&mut self, circles: Vec<Circle>, sender: &SessionId, now: MonoMs) {
        let circles = if self.is_on { circles } else { Vec::new() };
        for circle in circles {
            if let Some(level) = self.levels.get(&circle).cloned() {
                let changed = i64::from(level.last != *sender) * TURN;
                let turns = level.turns(now) + changed;
                let speakers = self.spoken(&circle, level.speakers, sender);
                self.put(circle, Level { last: sender.clone(), turns, at: now, speakers });
                continue;
            }
            if self.levels.len() >= LOOPS_KNOWN_MAX {
                self.sweep(now);
            }
            // With so many that are all busy, one more is not watched: that is better than to refuse it.
            if self.levels.len() < LOOPS_KNOWN_MAX {
                let speakers = self.spoken(&circle, VecDeque::new(), sender);
                self.put(circle, Level { last: sender.clone(), turns: TURN, at: now, speakers });
            }
        }
    }

    /// Notes a session among the last speakers of a thread; a pair has its members in its name.
    fn spoken(
        &mut self,
        circle: &Circle,
        mut speakers: VecDeque<SessionId>,
        sender: &SessionId,
    ) -> VecDeque<SessionId> {
        let Circle::Thread(thread) = circle else { return speakers };
        speakers.retain(|speaker| speaker != sender);
        speakers.push_back(sender.clone());
        if speakers.len() > LOOP_SPEAKERS_MAX
            && let Some(oldest) = speakers.pop_front()
        {
            self.leave_thread(&oldest, thread);
        }
        self.threads_of.entry(sender.clone()).or_default().insert(thread.clone());
        speakers
    }

    fn leave_thread(&mut self, speaker: &SessionId, thread: &MessageId) {
        if let Some(threads) = self.threads_of.get_mut(speaker) {
            threads.remove(thread);
            if threads.is_empty() {
                self.threads_of.remove(speaker);
            }
        }
    }

    fn put(&mut self, circle: Circle, level: Level) {
        if let Circle::Pair(a, b) = &circle {
            self.pairs_of.entry(a.clone()).or_default().insert(b.clone());
            self.pairs_of.entry(b.clone()).or_default().insert(a.clone());
        }
        self.ending.insert((level.over_at(), circle.clone()));
        if let Some(before) = self.levels.insert(circle.clone(), level.clone())
            && before.over_at() != level.over_at()
        {
            self.ending.remove(&(before.over_at(), circle));
        }
    }

    /// A human has spoken: nothing that concerns these sessions, or this thread, is a loop of programs.
    pub(super) fn reset(&mut self, sessions: &[SessionId], thread: Option<&MessageId>) {
        for session in sessions {
            for other in self.pairs_of.get(session).cloned().unwrap_or_default() {
                self.forget(&Circle::pair(session, &other));
            }
            for thread in self.threads_of.get(session).cloned().unwrap_or_default() {
                self.forget(&Circle::Thread(thread));
            }
        }
        if let Some(thread) = thread {
            self.forget(&Circle::Thread(thread.clone()));
        }
    }

    fn forget(&mut self, circle: &Circle) {
        #[cfg(test)]
        {
            self.looks += 1;
        }
        if let Some(level) = self.levels.remove(circle) {
            self.ending.remove(&(level.over_at(), circle.clone()));
            self.detach(circle, &level);
        }
    }

    /// Takes a circle that is over out of what its sessions are in.
    fn detach(&mut self, circle: &Circle, level: &Level) {
        let (a, b) = match circle {
            Circle::Pair(a, b) => (a, b),
            Circle::Thread(thread) => {
                return level.speakers.iter().for_each(|speaker| self.leave_thread(speaker, thread));
            }
        };
        for (one, other) in [(a, b), (b, a)] {
            if let Some(others) = self.pairs_of.get_mut(one) {
                others.remove(other);
                if others.is_empty() {
                    self.pairs_of.remove(one);
                }
            }
        }
    }

    /// Forgets circles in which it has been quiet for long enough, and looks at no others but one.
    pub(super) fn sweep(&mut self, now: MonoMs) {
        while self.ending.first().is_some_and(|(over_at, _)| *over_at <= now) {
            let Some((_, circle)) = self.ending.pop_first() else { break };
            let Some(level) = self.levels.remove(&circle) else { continue };
            self.detach(&circle, &level);
        }
    }
}

fn too_many(missing: i64) -> RequestError {
    let wait_ms = (missing * LOOP_WINDOW_MS + FULL - 1) / FULL;
    let wait_s = u32::try_from((wait_ms + 999) / 1000).unwrap_or(u32::MAX).max(1);
    let minutes = LOOP_WINDOW_MS / 60_000;
    let message = format!(
        "you have answered each other {LOOP_TURNS_MAX} times within {minutes} minutes and no human has said anything: stop \
         here, tell your user what is open, and go on when one has written to either of you, or in {wait_s} s"
    );
    RequestError { retry_after_s: Some(wait_s), ..RequestError::new(ErrorKind::LoopGuard, message) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> SessionId {
        SessionId::from(text)
    }

    fn say(loops: &mut Loops, from: &str, to: &str, ms: i64) -> Result<(), RequestError> {
        let circles = vec![Circle::pair(&id(from), &id(to))];
        loops.check(&circles, &id(from), MonoMs(ms))?;
        loops.note(circles, &id(from), MonoMs(ms));
        Ok(())
    }

    fn to_and_fro(loops: &mut Loops, ms: i64) -> usize {
        let turn = |n: &usize| if n.is_multiple_of(2) { ("a", "b") } else { ("b", "a") };
        (0..1000).take_while(|n| say(loops, turn(n).0, turn(n).1, ms).is_ok()).count()
    }

    fn guarded() -> Loops {
        Loops { is_on: true, ..Loops::default() }
    }

    #[test]
    fn two_that_answer_each_other_are_stopped_and_told_when_they_may_go_on() {
        let mut loops = guarded();
        assert_eq!(to_and_fro(&mut loops, 0), LOOP_TURNS_MAX as usize);
        let refused = say(&mut loops, "a", "b", 0).unwrap_err();
        assert_eq!(refused.kind, ErrorKind::LoopGuard);
        let wait = i64::from(refused.retry_after_s.unwrap()) * 1000;
        say(&mut loops, "a", "b", wait).unwrap();
        say(&mut loops, "b", "a", wait).unwrap_err();
        say(&mut loops, "b", "c", wait).unwrap();
        say(&mut loops, "a", "b", wait + 1).unwrap();
        // A clock that goes back gives nothing.
        say(&mut loops, "b", "a", 0).unwrap_err();
        assert_eq!(to_and_fro(&mut loops, wait + LOOP_WINDOW_MS), LOOP_TURNS_MAX as usize);
    }

    #[test]
    fn what_is_told_of_waiting_is_enough_and_not_a_second_too_much() {
        for passed_ms in (0..LOOP_WINDOW_MS / i64::from(LOOP_TURNS_MAX)).step_by(7) {
            let mut loops = guarded();
            to_and_fro(&mut loops, 0);
            let told = say(&mut loops, "a", "b", passed_ms).unwrap_err().retry_after_s.unwrap();
            let after = |seconds: u32| passed_ms + i64::from(seconds) * 1000;
            let circles = [Circle::pair(&id("a"), &id("b"))];
            loops.check(&circles, &id("a"), MonoMs(after(told))).unwrap();
            // Within the time that a thousandth of a turn takes.
            let too_early = after(told - 1) - (LOOP_WINDOW_MS / FULL + 1);
            loops.check(&circles, &id("a"), MonoMs(too_early)).unwrap_err();
        }
    }

    #[test]
    fn who_tells_much_to_one_who_is_silent_is_in_no_loop() {
        let mut loops = guarded();
        for _ in 0..1000 {
            say(&mut loops, "a", "b", 0).unwrap();
        }
        let mut off = Loops::default();
        assert_eq!((to_and_fro(&mut off, 0), off.levels.len()), (1000, 0));
    }

    #[test]
    fn a_human_ends_every_loop_that_it_writes_to() {
        let mut loops = guarded();
        to_and_fro(&mut loops, 0);
        loops.reset(&[id("c")], None);
        say(&mut loops, "a", "b", 0).unwrap_err();
        loops.reset(&[id("b")], None);
        say(&mut loops, "a", "b", 0).unwrap();
        let thread = vec![Circle::Thread("t".into())];
        for n in 0..LOOP_TURNS_MAX {
            loops.note(thread.clone(), &id(&n.to_string()), MonoMs(0));
        }
        loops.check(&thread, &id("x"), MonoMs(0)).unwrap_err();
        loops.reset(&[], Some(&"t".into()));
        loops.check(&thread, &id("x"), MonoMs(0)).unwrap();
    }

    #[test]
    fn what_is_kept_is_bounded_and_forgotten() {
        let mut loops = guarded();
        for number in 0..LOOPS_KNOWN_MAX + 10 {
            say(&mut loops, "a", &number.to_string(), 0).unwrap();
        }
        assert_eq!(loops.levels.len(), LOOPS_KNOWN_MAX);
        loops.sweep(MonoMs(LOOP_WINDOW_MS));
        assert!(loops.levels.is_empty() && loops.ending.is_empty() && loops.pairs_of.is_empty());
        for number in 0..=LOOP_SPEAKERS_MAX {
            loops.note(vec![Circle::Thread("t".into())], &id(&number.to_string()), MonoMs(LOOP_WINDOW_MS));
        }
        assert_eq!(loops.threads_of.len(), LOOP_SPEAKERS_MAX);
        loops.sweep(MonoMs(3 * LOOP_WINDOW_MS));
        assert!(loops.levels.is_empty() && loops.threads_of.is_empty());
    }

    // row 64
    #[test]
    fn a_human_that_writes_to_a_speaker_ends_the_loops_of_its_threads_and_of_no_other() {
        let mut loops = guarded();
        let thread = |name: &str| vec![Circle::Thread(name.into())];
        for n in 0..LOOP_TURNS_MAX {
            loops.note(thread("t"), &id(if n % 2 == 0 { "a" } else { "b" }), MonoMs(0));
            loops.note(thread("other"), &id(if n % 2 == 0 { "c" } else { "d" }), MonoMs(0));
        }
        loops.check(&thread("t"), &id("a"), MonoMs(0)).unwrap_err();
        loops.reset(&[id("a")], None);
        loops.check(&thread("t"), &id("a"), MonoMs(0)).unwrap();
        loops.check(&thread("other"), &id("c"), MonoMs(0)).unwrap_err();
        assert_eq!(loops.threads_of.keys().map(SessionId::as_str).collect::<Vec<_>>(), ["c", "d"]);
    }

    #[test]
    fn a_human_s_words_have_no_others_looked_at_than_those_they_end() {
        let mut loops = guarded();
        for number in 0..1000 {
            say(&mut loops, &format!("a{number}"), &format!("b{number}"), 0).unwrap();
            loops.note(vec![Circle::Thread(format!("t{number}").as_str().into())], &id("x"), MonoMs(0));
        }
        say(&mut loops, "a1", "b2", 0).unwrap();
        loops.reset(&[id("nobody"), id("human:ana")], None);
        assert_eq!((loops.levels.len(), loops.looks), (2001, 0));
        // It is in two pairs, one of which the second one is in too.
        loops.reset(&[id("a1"), id("b2")], Some(&"t7".into()));
        assert_eq!((loops.levels.len(), loops.looks), (2001 - 4, 4));
        assert_eq!(loops.ending.len(), 2001 - 4);
    }

    proptest::proptest! {
        /// What is forgotten is what a look at each one would forget, whatever was said when.
        #[test]
        fn what_is_over_is_known_without_a_look_at_all(
            said in proptest::collection::vec((0u8..4, 0u8..4, 0i64..LOOP_WINDOW_MS / 8), 1..60)
        ) {
            let (mut loops, mut now) = (guarded(), 0);
            for (from, to, later) in said {
                now += later;
                if from == to {
                    let spoken_to = id(&from.to_string());
                    loops.reset(std::slice::from_ref(&spoken_to), None);
                    assert!(!loops.levels.keys().any(|circle| matches!(circle, Circle::Pair(a, b) if *a == spoken_to || *b == spoken_to)));
                } else {
                    let _ = say(&mut loops, &from.to_string(), &to.to_string(), now);
                }
                let mut kept = loops.levels.clone();
                kept.retain(|_, level| level.turns(MonoMs(now)) > 0);
                loops.sweep(MonoMs(now));
                assert!(loops.levels.keys().collect::<BTreeSet<_>>() == kept.keys().collect::<BTreeSet<_>>());
                let ending: BTreeSet<_> = kept.iter().map(|(circle, level)| (level.over_at(), circle.clone())).collect();
                assert!(loops.ending == ending);
                let mut pairs_of: BTreeMap<SessionId, BTreeSet<SessionId>> = BTreeMap::new();
                for circle in kept.keys() {
                    let Circle::Pair(a, b) = circle else { continue };
                    pairs_of.entry(a.clone()).or_default().insert(b.clone());
                    pairs_of.entry(b.clone()).or_default().insert(a.clone());
                }
                assert!(loops.pairs_of == pairs_of);
            }
        }
    }
}
