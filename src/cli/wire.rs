//! The daemon's answers, as far as the command line reads them. Everything has a default: a field that a later daemon
//! adds or leaves out must not break an earlier command line.

use super::text::line;
use crate::limits::MENTIONED_ID_CHARS;
use serde::Deserialize;

/// `GET /v1/sessions`
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Sessions {
    pub(crate) sessions: Vec<Session>,
}

/// A session on the roster.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Session {
    #[serde(rename = "sessionId")]
    pub(crate) id: String,
    pub(crate) nickname: String,
    pub(crate) state: Option<String>,
    pub(crate) state_by: Option<String>,
    pub(crate) state_since: Option<i64>,
    pub(crate) waiting_for: Option<String>,
    pub(crate) tool: Option<String>,
    pub(crate) agent: Option<String>,
    pub(crate) model: Option<String>,
    pub(crate) permission_mode: Option<String>,
    pub(crate) session_name: Option<String>,
    pub(crate) connection: String,
    pub(crate) reach: String,
    pub(crate) hears: Vec<String>,
    pub(crate) cwd: String,
    pub(crate) project: Option<String>,
    pub(crate) operator: Option<String>,
    pub(crate) host: Option<Host>,
    pub(crate) git_branch: Option<String>,
    pub(crate) current_task: Option<String>,
    pub(crate) connected_at: i64,
    pub(crate) last_activity_at: Option<i64>,
    pub(crate) unread: u64,
}

/// A machine.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Host {
    pub(crate) name: String,
}

/// `GET /v1/rooms`
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Rooms {
    pub(crate) rooms: Vec<Room>,
}

/// A room.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Room {
    #[serde(rename = "roomId")]
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) kind: RoomKind,
    pub(crate) members: Vec<Member>,
}

/// Why a room exists.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct RoomKind {
    pub(crate) kind: String,
}

/// Somebody in a room.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Member {
    pub(crate) nickname: String,
}

/// `GET /v1/messages` and `GET /v1/inbox`
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Messages {
    /// Whose inbox it is.
    pub(crate) reader: Option<String>,
    /// Says whether the caller is known to be that reader.
    pub(crate) own: Option<bool>,
    /// Says whether the caller named the reader by a whole nickname or id.
    pub(crate) exact: Option<bool>,
    pub(crate) messages: Vec<Message>,
    pub(crate) before: Option<String>,
    pub(crate) newest: Option<String>,
    pub(crate) waiting: u64,
}

/// A message.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Message {
    #[serde(rename = "messageId")]
    pub(crate) id: String,
    /// As much of the id as tells it from all others, if the daemon says that.
    pub(crate) short_id: Option<String>,
    pub(crate) from_session_id: String,
    pub(crate) from_nick: String,
    pub(crate) to_session_id: Option<String>,
    pub(crate) to_room_id: Option<String>,
    pub(crate) to_nick: String,
    pub(crate) body: String,
    pub(crate) sent_at: i64,
    pub(crate) proof: Option<String>,
    pub(crate) priority: Option<String>,
    pub(crate) reply_to: Option<String>,
    pub(crate) reply_by: Option<i64>,
    pub(crate) expires_at: Option<i64>,
    pub(crate) supersedes: Option<String>,
    pub(crate) read_by: Option<u64>,
    pub(crate) waiting_for: Option<u64>,
    pub(crate) deliveries: Vec<Delivery>,
}

impl Message {
    /// The id as people read and type it.
    pub(crate) fn shown_id(&self) -> String {
        self.short_id.as_deref().map_or_else(|| mentioned(&self.id), line)
    }
}

impl Sent {
    /// The id as people read and type it.
    pub(crate) fn shown_id(&self) -> String {
        self.short_id.as_deref().map_or_else(|| mentioned(&self.message_id), line)
    }
}

/// The beginning of an id that is only mentioned.
pub(crate) fn mentioned(id: &str) -> String {
    line(&id.chars().take(MENTIONED_ID_CHARS).collect::<String>())
}

/// `POST /v1/inbox/claim`
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Claimed {
    pub(crate) from: Vec<ClaimedFrom>,
    pub(crate) more: bool,
}

/// From whom messages were taken over.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct ClaimedFrom {
    pub(crate) nickname: String,
    pub(crate) messages: u64,
}

/// `POST /v1/messages`
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Sent {
    pub(crate) message_id: String,
    /// As much of the id as tells it from all others, if the daemon says that.
    pub(crate) short_id: Option<String>,
    pub(crate) to: String,
    pub(crate) to_nick: String,
    pub(crate) recipients: Vec<Recipient>,
    pub(crate) deliveries: Vec<Delivery>,
    /// What its sender should look at again.
    pub(crate) warnings: Vec<String>,
    /// Whom more than one address means.
    pub(crate) covered: Vec<Covered>,
    /// To several: each as it would be alone.
    pub(crate) messages: Vec<Sent>,
    /// Whether it had been sent before.
    pub(crate) duplicate: bool,
    /// What became of the message that it was to come in the place of.
    pub(crate) supersedes: Option<Supersedes>,
}

/// One that more than one address means, and the message by which it gets there.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Covered {
    pub(crate) nickname: String,
    pub(crate) room_id: Option<String>,
    pub(crate) message_id: String,
}

/// What became of a message that another one was to come in the place of.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Supersedes {
    pub(crate) message_id: String,
    /// For how many it was replaced, and of how many.
    pub(crate) replaced: usize,
    pub(crate) of: usize,
    pub(crate) deliveries: Vec<Delivery>,
}

/// Where a message is, for one of its recipients.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Delivery {
    pub(crate) session_id: String,
    pub(crate) nickname: String,
    pub(crate) state: String,
    pub(crate) reason: Option<String>,
    pub(crate) path: Option<String>,
    pub(crate) evidence: Option<String>,
    pub(crate) by: Option<String>,
    pub(crate) by_nickname: Option<String>,
    pub(crate) at: i64,
    pub(crate) times_handed: u32,
}

/// The data of an event `delivery` of `GET /v1/events`
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct DeliveryNews {
    pub(crate) message_id: String,
    pub(crate) delivery: Delivery,
}

/// Somebody that a message is for.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Recipient {
    pub(crate) session_id: String,
    pub(crate) nickname: String,
    pub(crate) live: bool,
}

/// `GET /v1/status`
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Status {
    pub(crate) version: String,
    pub(crate) pid: u64,
    pub(crate) uptime_ms: i64,
    pub(crate) state_dir: String,
    pub(crate) hooks: String,
    pub(crate) websocket: String,
    pub(crate) socket: String,
    pub(crate) auth: String,
    pub(crate) health: String,
    pub(crate) sessions: u64,
    pub(crate) clients: u64,
    pub(crate) rooms: u64,
    pub(crate) messages: u64,
    pub(crate) log_bytes: u64,
    pub(crate) log_live_bytes: u64,
    pub(crate) malformed_lines: u64,
}

/// `POST /v1/compact`
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Compacted {
    pub(crate) bytes_before: u64,
    pub(crate) bytes_after: u64,
    pub(crate) malformed_lines_moved: u64,
}

/// What comes with a status of 400 and above.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Refusal {
    pub(crate) error: RefusalDetail,
}

/// Why a request was refused.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct RefusalDetail {
    pub(crate) code: String,
    pub(crate) message: String,
    pub(crate) candidates: Vec<String>,
}
