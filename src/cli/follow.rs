//! Going on with what happens, over an end of the daemon too: whoever looks on is told when the connection is lost, and when
//! it is back. It must not know what is shown, and it gives up for nothing that passes.

use super::commands::Caller;
use super::events::{Events, Heard};
use super::http_client::Failure;
use super::{Problem, World};
use crate::error::exit_code;
use crate::limits::{EVENTS_SILENCE_MAX, FOLLOW_AGAIN_FIRST, FOLLOW_AGAIN_MAX};
use crossbeam_channel::never;
use std::time::{Duration, Instant};

/// Somebody who looks on until interrupted.
pub(super) struct Following<'a> {
    caller: &'a Caller<'a>,
    events: Events,
    /// When this connection began, and how long was paused before it: one that breaks off at once is no reason to begin anew
    /// with the shortest pause.
    since: Instant,
    paused: Duration,
}

impl<'a> Following<'a> {
    /// Hears of what happens from now on.
    pub(super) fn begin(caller: &'a Caller<'a>) -> Result<Self, Problem> {
        Ok(Self { caller, events: subscribe(caller)?, since: Instant::now(), paused: Duration::ZERO })
    }

    /// What `ask` finds once something has happened that `concerns` it. When the connection is lost this is said, `at_loss`
    /// is done, and what is found is what there is when the daemon has come back, however long that takes.
    pub(super) fn next<T>(
        &mut self,
        world: &mut World<'_>,
        concerns: fn(&Heard) -> bool,
        at_loss: impl FnOnce(&mut World<'_>) -> Result<(), Problem>,
        mut ask: impl FnMut() -> Result<T, Problem>,
    ) -> Result<T, Problem> {
        let problem = match self.wait(concerns).and_then(|()| ask()) {
            Err(problem) if problem.is_passing() => problem,
            found => return found,
        };
        at_loss(world)?;
        let why = &problem.message;
        world.note(&format!("the connection to the daemon is lost ({why}): what is shown is old; trying again."));
        let longer_than = if self.since.elapsed() > FOLLOW_AGAIN_MAX { Duration::ZERO } else { self.paused };
        let mut pauses = pauses().skip_while(|pause| *pause <= longer_than && *pause < FOLLOW_AGAIN_MAX);
        loop {
            self.paused = pauses.next().unwrap_or(FOLLOW_AGAIN_MAX);
            pause(self.paused);
            let again = subscribe(self.caller).and_then(|events| {
                (self.events, self.since) = (events, Instant::now());
                ask()
            });
            match again {
                Err(problem) if problem.is_passing() => {}
                found => {
                    if found.is_ok() {
                        note_back(world);
                    }
                    return found;
                }
            }
        }
    }

    /// Waits until something is heard that `concerns` whoever asks. One look is enough for all that has come by then.
    fn wait(&mut self, concerns: fn(&Heard) -> bool) -> Result<(), Problem> {
        let mut is_heard = false;
        while !is_heard || self.events.has_more() {
            let heard = self.events.next().map_err(|failure| self.broken(&failure))?;
            let Some(heard) = heard else {
                return Err(Problem::new(exit_code::UNAVAILABLE, "the daemon ended it"));
            };
            is_heard |= concerns(&heard);
        }
        Ok(())
    }

    /// Why nothing more is heard.
    fn broken(&self, failure: &Failure) -> Problem {
        let silence = EVENTS_SILENCE_MAX.as_secs();
        match failure {
            Failure::Late => Problem::new(exit_code::UNAVAILABLE, format!("no sign of life for {silence} s")),
            Failure::CutShort => Problem::new(exit_code::UNAVAILABLE, "it broke off"),
            failure => self.caller.no_answer(failure, false),
        }
    }
}

/// Hears of what happens from now on.
pub(super) fn subscribe(caller: &Caller<'_>) -> Result<Events, Problem> {
    match Events::open(caller.socket) {
        Ok(events) => Ok(events),
        Err(answer) => match caller.checked(answer, false) {
            Err(problem) => Err(problem),
            Ok(_) => Err(Problem::new(exit_code::UNAVAILABLE, "the daemon tells of no events")),
        },
    }
}

/// Says that the connection is there again.
pub(super) fn note_back(world: &mut World<'_>) {
    world.note("the connection to the daemon is back.");
}

/// The pauses between tries to find the daemon again: the first is short, for one that is only started anew.
pub(super) fn pauses() -> impl Iterator<Item = Duration> {
    std::iter::successors(Some(FOLLOW_AGAIN_FIRST), |pause| Some((*pause * 2).min(FOLLOW_AGAIN_MAX)))
}

/// There is nothing whose end could be awaited: nobody tells that a socket appears.
pub(super) fn pause(time: Duration) {
    let _ = never::<()>().recv_timeout(time);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_daemon_is_looked_for_at_once_and_then_less_and_less_often_but_for_ever() {
        let pauses: Vec<Duration> = pauses().take(1000).collect();
        assert!(pauses[0] <= Duration::from_millis(250), "{:?}", pauses[0]);
        assert!(pauses.windows(2).all(|two| two[0] <= two[1]) && pauses[0] < pauses[10]);
        assert_eq!((pauses.len(), pauses[999]), (1000, FOLLOW_AGAIN_MAX));
    }
}
