//! Identifiers: cheap-to-clone text with a type, and the source that new ones are drawn from. It must not draw
//! randomness itself except in [`SystemIds`], which only the store thread owns.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The id as text, as it stands on the wire and in the log.
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// The id as text, shared and not copied.
            pub fn shared(&self) -> Arc<str> {
                self.0.clone()
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(Arc::from(text))
            }
        }

        impl From<Arc<str>> for $name {
            fn from(text: Arc<str>) -> Self {
                Self(text)
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self(Arc::from(text))
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }
    };
}

text_id! {
    /// A session: the agent's own session id where it has hooks, else the shim's random id. Also the id of a human's
    /// mailbox (`human:<name>`), which no session can take.
    SessionId
}
text_id! {
    /// A room: `everyone`, `host:<name>`, `op:<name>`, `project:<name>`, or the slug of an ad-hoc room's name.
    RoomId
}
text_id! {
    /// A membership: `<room id>::<session id>`.
    MemberId
}
text_id! {
    /// A message.
    MessageId
}
text_id! {
    /// A read receipt: `<message id>::<session id>`.
    ReadId
}
text_id! {
    /// A WebSocket connection, named by the daemon.
    ClientId
}

impl MemberId {
    /// The membership of `session` in `room`.
    pub fn of(room: &RoomId, session: &SessionId) -> Self {
        Self::from([room.as_str(), "::", session.as_str()].concat())
    }
}

impl ReadId {
    /// The receipt of `session` for `message`.
    pub fn of(message: &MessageId, session: &SessionId) -> Self {
        Self::from([message.as_str(), "::", session.as_str()].concat())
    }
}

/// The name under which the daemon itself writes to those whose messages it has something to tell about.
pub const NOTICE_SENDER: &str = "marshal";

/// What session ids of humans begin with. No session may register under such an id.
pub const HUMAN_PREFIX: &str = "human:";

impl SessionId {
    /// The mailbox of the human called `name`.
    pub fn human(name: &str) -> Self {
        Self::from(format!("{HUMAN_PREFIX}{name}"))
    }

    /// Whether this is a human's mailbox and not a session.
    pub fn is_human(&self) -> bool {
        self.0.starts_with(HUMAN_PREFIX)
    }
}

/// Where new ids come from. A simulation passes a seeded one.
pub trait IdSource {
    /// Sixteen random bytes.
    fn random_bytes(&mut self) -> [u8; 16];

    /// A new id as text: a version 4 UUID.
    fn new_id(&mut self) -> String {
        uuid::Builder::from_random_bytes(self.random_bytes()).into_uuid().hyphenated().to_string()
    }
}

/// A new id as text for something that comes about at this wall-clock millisecond: a version 7 UUID. Such ids follow each
/// other in the order of time, so that the maps and the files that are sorted by them grow at their end.
pub fn new_id_at(ids: &mut dyn IdSource, wall_ms: i64) -> String {
    let bytes = ids.random_bytes();
    let mut random = [0; 10];
    random.copy_from_slice(&bytes[..10]);
    // A clock before 1970 is as wrong as one that stands at it.
    let millis = u64::try_from(wall_ms).unwrap_or(0);
    uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid().hyphenated().to_string()
}

/// Ids from the operating system's random numbers, fetched a page at a time: a system call per id would cost more
/// than the rest of a small command.
pub struct SystemIds {
    pool: Box<[u8; 4096]>,
    used: usize,
}

impl SystemIds {
    /// A source with an empty pool.
    pub fn new() -> Self {
        Self { pool: Box::new([0; 4096]), used: 4096 }
    }
}

impl Default for SystemIds {
    fn default() -> Self {
        Self::new()
    }
}

impl IdSource for SystemIds {
    fn random_bytes(&mut self) -> [u8; 16] {
        if self.used + 16 > self.pool.len() {
            // Without random numbers ids would collide and rows would overwrite each other: stopping is the honest
            // answer, and the panic hook turns it into an ordered stop.
            assert!(getrandom::fill(&mut self.pool[..]).is_ok(), "the operating system gives no random numbers");
            self.used = 0;
        }
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&self.pool[self.used..self.used + 16]);
        self.used += 16;
        bytes
    }
}

/// Ids from a seed, for tests and simulations: the same seed gives the same ids.
pub struct SeededIds(u64);

impl SeededIds {
    /// A source that starts at `seed`.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number of the SplitMix64 sequence.
    pub fn next_number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

impl IdSource for SeededIds {
    fn random_bytes(&mut self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.next_number().to_le_bytes());
        bytes[8..].copy_from_slice(&self.next_number().to_le_bytes());
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn system_ids_are_distinct_uuids_across_refills() {
        let mut ids = SystemIds::new();
        let drawn: BTreeSet<String> = (0..1000).map(|_| ids.new_id()).collect();
        assert_eq!(drawn.len(), 1000);
        assert!(drawn.iter().all(|id| id.len() == 36 && id.as_bytes()[14] == b'4'));
    }

    #[test]
    fn ids_of_later_moments_are_greater_and_those_of_one_moment_distinct() {
        let mut ids = SystemIds::new();
        let moments = [i64::MIN, 0, 1, 1_795_219_453_182, 1_795_219_453_183, (1 << 48) - 1];
        let drawn: Vec<String> = moments.iter().map(|at| new_id_at(&mut ids, *at)).collect();
        assert!(drawn[1..].is_sorted(), "{drawn:?}");
        assert!(drawn.iter().all(|id| id.len() == 36 && id.as_bytes()[14] == b'7'));
        let at_once: BTreeSet<String> = (0..1000).map(|_| new_id_at(&mut ids, 5)).collect();
        assert_eq!(at_once.len(), 1000);
    }

    #[test]
    fn seeded_ids_repeat_with_the_seed() {
        let (mut a, mut b) = (SeededIds::new(7), SeededIds::new(7));
        assert_eq!((a.new_id(), a.new_id()), (b.new_id(), b.new_id()));
        assert_ne!(SeededIds::new(8).new_id(), SeededIds::new(7).new_id());
    }

    #[test]
    fn composite_ids_are_spelled_as_in_the_log() {
        let (room, session) = (RoomId::from("everyone"), SessionId::from("a"));
        assert_eq!(MemberId::of(&room, &session).as_str(), "everyone::a");
        assert_eq!(ReadId::of(&MessageId::from("m"), &session).as_str(), "m::a");
        assert!(SessionId::human("alice").is_human());
    }
}
