//! The JSON form of sessions. As for all rows: keys in alphabetical order, absent fields left out, unknown ones ignored.

use super::{Copies, Text, Texts, read, shared, text, to_text};
use crate::ids::{ClientId, SessionId};
use crate::model::{Agent, Doing, Host, KnownBy, Path, Presence, Process, Session, State};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct HostJson<'a> {
    #[serde(borrow)]
    arch: Text<'a>,
    #[serde(borrow)]
    name: Text<'a>,
    #[serde(borrow)]
    os: Text<'a>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ProcessJson<'a> {
    #[serde(borrow)]
    boot: Text<'a>,
    pid: u32,
    started: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PresenceJson<'a> {
    expires_at: i64,
    #[serde(borrow)]
    key: Text<'a>,
    #[serde(borrow)]
    parent: Text<'a>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SessionJson<'a> {
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    activity: Option<Text<'a>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    agent: Option<Text<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    channels_enabled: Option<bool>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    client_id: Option<Text<'a>>,
    #[serde(default)]
    connected_at: Option<i64>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    current_task: Option<Text<'a>>,
    #[serde(borrow, default)]
    cwd: Option<Text<'a>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    directory: Option<Text<'a>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    git_branch: Option<Text<'a>>,
    #[serde(borrow, default, skip_serializing_if = "Vec::is_empty")]
    groups: Vec<Text<'a>>,
    #[serde(borrow, default, skip_serializing_if = "Vec::is_empty")]
    hears: Vec<Text<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hooks: Option<bool>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    host: Option<HostJson<'a>>,
    #[serde(borrow)]
    pub(super) id: Text<'a>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    kind: Option<Text<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last_activity_at: Option<i64>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    last_tool: Option<Text<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last_tool_at: Option<i64>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    model: Option<Text<'a>>,
    #[serde(borrow, default)]
    nickname: Option<Text<'a>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    operator: Option<Text<'a>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    permission_mode: Option<Text<'a>>,
    #[serde(default)]
    pid: Option<u32>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    presence: Option<PresenceJson<'a>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    process: Option<ProcessJson<'a>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    project: Option<Text<'a>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    repository: Option<Text<'a>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    role: Option<Text<'a>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    session_name: Option<Text<'a>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    state: Option<Text<'a>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    state_by: Option<Text<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    state_since: Option<i64>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    tool: Option<Text<'a>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    waiting_for: Option<Text<'a>>,
}

/// The JSON text of a session.
pub fn session_text(row: &Session) -> String {
    let doing = &row.doing;
    to_text(&SessionJson {
        activity: text(&row.activity),
        agent: doing.agent.map(|agent| agent.as_str().into()),
        channels_enabled: row.channels_enabled,
        client_id: row.client_id.as_ref().map(|id| id.as_str().into()),
        connected_at: Some(row.connected_at),
        current_task: text(&row.current_task),
        cwd: Some((&row.cwd).into()),
        directory: text(&row.directory),
        git_branch: text(&row.git_branch),
        groups: row.groups.iter().map(Text::from).collect(),
        hears: doing.paths.iter().map(|path| path.as_str().into()).collect(),
        hooks: row.hooks.then_some(true),
        host: row.host.as_ref().map(|host| HostJson {
            arch: (&host.arch).into(),
            name: (&host.name).into(),
            os: (&host.os).into(),
        }),
        id: row.id.as_str().into(),
        kind: text(&row.kind),
        last_activity_at: row.last_activity_at,
        last_tool: text(&row.last_tool),
        last_tool_at: row.last_tool_at,
        model: text(&doing.model),
        nickname: Some((&row.nickname).into()),
        operator: text(&row.operator),
        permission_mode: text(&doing.permission_mode),
        pid: Some(row.pid),
        presence: row.presence.as_ref().map(|presence| PresenceJson {
            expires_at: presence.expires_at,
            key: (&presence.key).into(),
            parent: (&presence.parent).into(),
        }),
        process: row.process.as_ref().map(|process| ProcessJson {
            boot: (&process.boot).into(),
            pid: process.pid,
            started: process.started,
        }),
        project: text(&row.project),
        repository: text(&row.repository),
        role: text(&row.role),
        session_name: text(&row.session_name),
        state: doing.state.map(|state| state.as_str().into()),
        state_by: doing.state.map(|_| doing.known_by.as_str().into()),
        state_since: doing.state.map(|_| doing.since),
        tool: text(&doing.tool),
        waiting_for: text(&doing.waiting_for),
    })
}

/// Reads a session. Only `id` is required: shims from 0.12 on send no nickname, and an outsider's line may be short.
///
/// # Errors
/// What is wrong with the text.
pub fn parse_session(json: &str) -> Result<Session, String> {
    read(json).map(|item| build_session(&item, &mut Copies))
}

pub(super) fn build_session(item: &SessionJson<'_>, texts: &mut impl Texts) -> Session {
    let mut common = |text: &Option<Text<'_>>| text.as_ref().map(|text| texts.common(&text.0));
    Session {
        client_id: item.client_id.as_ref().map(|id| ClientId::from(&*id.0)),
        nickname: common(&item.nickname).unwrap_or_default(),
        pid: item.pid.unwrap_or(0),
        cwd: common(&item.cwd).unwrap_or_default(),
        directory: common(&item.directory),
        repository: common(&item.repository),
        git_branch: common(&item.git_branch),
        current_task: shared(&item.current_task),
        connected_at: item.connected_at.unwrap_or(0),
        last_activity_at: item.last_activity_at,
        last_tool: common(&item.last_tool),
        last_tool_at: item.last_tool_at,
        operator: common(&item.operator),
        project: common(&item.project),
        hooks: item.hooks.unwrap_or(false),
        channels_enabled: item.channels_enabled,
        session_name: shared(&item.session_name),
        activity: common(&item.activity),
        kind: common(&item.kind),
        role: common(&item.role),
        groups: item.groups.iter().map(|group| texts.common(&group.0)).collect(),
        presence: item.presence.as_ref().map(|presence| Presence {
            key: texts.common(&presence.key.0),
            parent: texts.common(&presence.parent.0),
            expires_at: presence.expires_at,
        }),
        process: item.process.as_ref().map(|process| Process {
            pid: process.pid,
            started: process.started,
            boot: texts.common(&process.boot.0),
        }),
        host: item.host.as_ref().map(|host| Host {
            name: texts.common(&host.name.0),
            os: texts.common(&host.os.0),
            arch: texts.common(&host.arch.0),
        }),
        doing: build_doing(item, texts),
        id: SessionId::from(texts.common(&item.id.0)),
    }
}

/// A word of a later version says nothing that could be relied on.
fn build_doing(item: &SessionJson<'_>, texts: &mut impl Texts) -> Doing {
    let mut common = |text: &Option<Text<'_>>| text.as_ref().map(|text| texts.common(&text.0));
    Doing {
        state: item.state.as_ref().and_then(|state| State::parse(&state.0)),
        known_by: item.state_by.as_ref().and_then(|known_by| KnownBy::parse(&known_by.0)).unwrap_or_default(),
        since: item.state_since.unwrap_or(0),
        waiting_for: common(&item.waiting_for),
        tool: common(&item.tool),
        model: common(&item.model),
        permission_mode: common(&item.permission_mode),
        agent: item.agent.as_ref().and_then(|agent| Agent::parse(&agent.0)),
        paths: item.hears.iter().filter_map(|path| Path::parse(&path.0)).collect(),
    }
}
