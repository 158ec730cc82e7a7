//! Every bound of the product in one place, with its unit in its name, and the relations between them checked at
//! compile time. It must not import anything: every other module may use it.

use std::time::Duration;

// ---- the gate: what one connection may cost before it is admitted ----

/// Bytes of a request head (request line and headers), as RFC 9112 leaves the bound to the server.
pub const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Headers in one request head.
pub const HEAD_HEADERS_MAX: usize = 64;
/// Bytes of a request body.
pub const BODY_BYTES_MAX: usize = 256 * 1024;
/// Bytes kept of a hook's body, from the beginning. Events carry the input and output of tools.
pub const HOOK_BODY_BYTES_MAX: usize = 1024 * 1024;
/// Bytes read of a hook's body. Those beyond the kept ones are dropped.
pub const HOOK_TAKEN_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Bytes of the line before a chunk: its size and extensions.
pub const CHUNK_LINE_BYTES_MAX: usize = 256;
/// Bytes of framing in one chunked body.
pub const CHUNK_FRAMING_BYTES_MAX: usize = 256 * 1024;
/// Bytes of the trailer of a chunked body.
pub const TRAILER_BYTES_MAX: usize = 4 * 1024;
/// Time from accept until head and body are there in full.
pub const REQUEST_DEADLINE: Duration = Duration::from_secs(5);
/// Time for a caller to take an answer that did not fit its socket's buffer, and to close.
pub const ANSWER_DEADLINE: Duration = Duration::from_secs(5);
/// Connections that the gate holds at once (reading, finishing an answer, waiting for the caller's close).
pub const GATE_CONNECTIONS_MAX: usize = 1024;
/// Bytes of unfinished requests and untaken answers that the gate holds at once, before it lets go of the oldest.
pub const GATE_HELD_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Time that an answer has at least before its caller can be closed to make room for others.
pub const ANSWER_PATIENCE: Duration = Duration::from_secs(1);
/// File descriptors that are neither a connection at the gate nor a WebSocket client nor a process that is watched: files, doors, polls, and requests
/// that a worker or the store has at the moment.
pub const DESCRIPTORS_RESERVED: usize = 48;
/// File descriptors that the daemon asks the system for; it goes on with fewer.
pub const DESCRIPTORS_WANTED: u64 = 32768;
/// Free file descriptors without which the daemon does not start: its own files and doors, a compaction, a few callers.
pub const DESCRIPTORS_FREE_AT_START_MIN: usize = 32;
/// Pause before accepting again when the process has no file descriptor left.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Bytes read and thrown away after an early refusal, so that the caller can still read the answer.
pub const DRAIN_BYTES_MAX: usize = 1024 * 1024;
/// Bytes that the gate reads from a connection in one call.
pub const GATE_READ_BYTES: usize = 16 * 1024;
/// Reads from one connection before the gate serves the next.
pub const GATE_READS_PER_TURN_MAX: usize = 64;
/// Connections accepted at one door before the gate looks at the others again.
pub const ACCEPTS_PER_TURN_MAX: usize = 64;
/// Readiness events that the gate takes from the system in one turn.
pub const GATE_EVENTS_PER_TURN_MAX: usize = 256;
/// Time between two looks, while stopping, whether the workers still hold connections.
pub const STOP_LOOK_EVERY: Duration = Duration::from_millis(10);
/// Hexadecimal digits in a row that are taken for a secret, and not shown, in such a line: a token has 64.
pub const SECRET_DIGITS_MIN: usize = 40;
/// Characters of a `Host` header that a refusal repeats: the longest name in DNS.
pub const HOST_CHARACTERS_SHOWN_MAX: usize = 253;
/// Names in the setting of allowed hosts.
pub const ALLOWED_HOSTS_MAX: usize = 64;
/// Characters of method and path in such a line.
pub const LOGGED_LINE_CHARACTERS_MAX: usize = 200;

/// Callers who wait for a session's mail at once, one for each session; fewer where descriptors do not allow it.
pub const WAITERS_MAX: usize = 12_288;
/// Seconds that a caller waits for a session's mail at most, and when it does not say.
pub const WAIT_SECONDS_MAX: u64 = 7 * 24 * 60 * 60;

// ---- the daemon's own log, on stderr ----

/// Time between two lines for one reason that callers and outsiders can cause.
pub const LOG_LINE_EVERY: Duration = Duration::from_secs(1);
/// Lines waiting to be written to stderr. Lines that find no room are lost.
pub const LOG_QUEUE_LINES_MAX: usize = 1024;
/// Lines of these that only errors may take: the last words of a daemon that nobody read for long.
pub const LOG_QUEUE_LINES_RESERVED: usize = 64;
/// Bytes of a line that are written.
pub const LOG_LINE_BYTES_SHOWN_MAX: usize = 8 * 1024;
/// Time for the lines so far to be written when the daemon ends, and after a panic. It is part of [`STOP_DEADLINE`].
pub const LOG_FLUSH_DEADLINE: Duration = Duration::from_millis(200);

// ---- queues between threads ----

/// Wishes for a new token that may wait for the thread that makes it.
pub const ROTATE_QUEUE_MAX: usize = 4;

/// Commands waiting for the store.
pub const STORE_QUEUE_MAX: usize = 4096;
/// Events of one frame of a WebSocket client that are one command: a frame can hold thousands.
pub const EVENTS_AT_ONCE_MAX: usize = 64;
/// Commands without an answer (events, the end of a query) of one WebSocket client that may wait for the store. Its
/// reader does not read on until the store has applied some, so that one client cannot fill the store's queue.
pub const WS_UNANSWERED_MAX: usize = 4;
/// Commands applied in one batch, that is with one write and one sync.
pub const BATCH_COMMANDS_MAX: usize = 1024;
/// Bytes of rows written back to a log that lacks them, with one batch.
pub const BATCH_BYTES_MAX: usize = 256 * 1024;
/// Time between two rounds of roster news to live queries while the store has more to do than it can finish.
pub const PUBLISH_EVERY_MS: i64 = 50;
/// Commands waiting for the store beyond which requests that are no hooks get 503: the rest of its queue is for hooks.
pub const STORE_QUEUE_OF_OTHERS_MAX: usize = STORE_QUEUE_MAX / 4;
/// Hooks read whole and waiting for an HTTP worker; and as many other requests.
pub const REQUEST_QUEUE_MAX: usize = 1024;
/// HTTP workers. They never wait for the store or for a caller, so a handful serves any number of callers. The first
/// serves hooks alone.
pub const HTTP_WORKERS: usize = 3;
/// Answers on their way from the store to the HTTP workers: room for every request that can be under way, so that
/// the store never finds this queue full.
pub const ANSWER_QUEUE_MAX: usize =
    STORE_QUEUE_MAX + BATCH_COMMANDS_MAX + COMPACT_WAITING_MAX + HTTP_WORKERS + WAKES_QUEUED_MAX;
/// Answers in that queue beyond which nobody is woken: those who wait have time.
pub const WAKES_QUEUED_MAX: usize = 512;
/// Connections on their way back from a worker to the gate.
pub const RETURN_QUEUE_MAX: usize = 1024;
/// Of these, how many the gate takes before it accepts callers again: a message to all wakes thousands at once.
pub const RETURNS_PER_TURN_MAX: usize = 64;
/// Notices from the watcher and the sweeper that may wait for the log watcher thread.
pub const WATCH_QUEUE_MAX: usize = 64;

// ---- WebSocket clients ----

/// WebSocket clients connected at once.
pub const WS_CLIENTS_MAX: usize = 2048;
/// Bytes of one WebSocket message, and of one frame, from a client.
pub const WS_MESSAGE_BYTES_MAX: usize = 1024 * 1024;
/// Bytes that a client's message may have before it counts as large: what a message body needs, and its frame.
pub const WS_SMALL_MESSAGE_BYTES: usize = 72 * 1024;
/// Large messages of all WebSocket clients that may be on their way in at once; a client with another one waits. So a
/// thousand clients who each begin a large message and never end it take no more memory than these.
pub const WS_LARGE_MESSAGES_MAX: usize = 4;
/// Time for a large message to wait for its turn, and then to arrive.
pub const WS_LARGE_MESSAGE_DEADLINE: Duration = Duration::from_secs(5);
/// Bytes of a ping of the JSON protocol that is sent back.
pub const WS_ECHO_BYTES_MAX: usize = 1024;
/// Characters of an error that a WebSocket client is told, which may quote what it said.
pub const WS_ERROR_CHARACTERS_MAX: usize = 1024;
/// Bytes received from a WebSocket client at once.
pub const WS_READ_BYTES: usize = 16 * 1024;
/// Bytes that the protocol library takes of these at once; each client has a buffer of this size.
pub const WS_READ_BUFFER_BYTES: usize = 2 * 1024;
/// Frames of one WebSocket client that are taken before it is the next one's turn.
pub const WS_FRAMES_PER_TURN_MAX: usize = 64;
/// Writes to one WebSocket client before it is the next one's turn.
pub const WS_WRITES_PER_TURN_MAX: usize = 4;
/// Sockets of WebSocket clients that one look of the poll tells of.
pub const WS_EVENTS_PER_TURN_MAX: usize = 256;
/// Frames waiting for one WebSocket client; a client that lets more pile up is disconnected.
pub const WS_OUTBOX_FRAMES_MAX: usize = 512;
/// Bytes kept for all WebSocket clients whose sockets do not take them; beyond that the one that has taken nothing for
/// longest is given up.
pub const WS_HELD_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Bytes of messages of all WebSocket clients that are on their way in; beyond that a message counts as large when it has
/// more than one piece.
pub const WS_UNFINISHED_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Answers that one WebSocket client may be owed, from its question until the answer is made ready to be written; it is not
/// heard before it takes some. It leaves room in the outbox, so that a client that asks much at once is slowed down and not
/// disconnected.
pub const WS_ANSWERS_OWED_MAX: usize = 128;
/// Pushed messages of one WebSocket client that wait for the proof that it has taken them.
pub const WS_PUSH_PROOFS_MAX: usize = 64;
/// WebSocket connections admitted and waiting for their reader.
pub const WS_UPGRADE_QUEUE_MAX: usize = 256;
/// Bytes gathered into one write to a WebSocket client.
pub const WS_WRITE_BYTES_MAX: usize = 64 * 1024;
/// Time after which a write to a client that does not read is given up.
pub const WS_WRITE_TIMEOUT: Duration = Duration::from_secs(5);
/// Time between two pings from the server to a WebSocket client.
pub const WS_PING_EVERY: Duration = Duration::from_secs(20);
/// Silence after which a WebSocket client counts as gone.
pub const WS_SILENCE_MAX: Duration = Duration::from_secs(60);
/// Live queries of one WebSocket client.
pub const WS_QUERIES_MAX: usize = 64;

// ---- subscribers of events ----

/// Events kept for subscribers that come back.
pub const EVENTS_KEPT_MAX: usize = 1024;
/// Bytes of message bodies in the events that are kept.
pub const EVENTS_KEPT_BYTES_MAX: usize = 1024 * 1024;
/// Time between two signs of life to a subscriber.
pub const EVENTS_KEEP_ALIVE_EVERY: Duration = Duration::from_secs(15);
/// Time after which a subscriber that was cut off is told to come back.
pub const EVENTS_RETRY_MS: u32 = 1000;
/// Subscribers admitted and waiting for the reader of WebSocket clients, who sees to them too.
pub const SUBSCRIBER_QUEUE_MAX: usize = 256;
/// Bytes of the body of a registration.
pub const REGISTRATION_BYTES_MAX: usize = 64 * 1024;

// ---- the roster ----

/// Bytes of a session id, room id or message id from outside.
pub const ID_BYTES_MAX: usize = 256;
/// Bytes of a name (nickname, host, operator, room name, tool) from outside.
pub const NAME_BYTES_MAX: usize = 256;
/// Characters of a name that are shown within marshal's own words; of a longer one, the beginning.
pub const NAME_SHOWN_CHARS_MAX: usize = 64;
/// Characters of its id in the nickname of a session that has not said what it is called.
pub const ID_SHORT_CHARS: usize = 8;
/// Numbers in a row that are tried for a newcomer among namesakes; then ever larger steps are taken.
pub const NICKNAMES_WALKED_MAX: u32 = 64;
/// Bytes of a path from outside.
pub const PATH_BYTES_MAX: usize = 4096;
/// Bytes of free text from outside (current task, room description).
pub const TEXT_BYTES_MAX: usize = 4096;
/// Bytes of a message body.
pub const MESSAGE_BODY_BYTES_MAX: usize = 64 * 1024;
/// Messages that one session or human may send at once; joining a room and being registered count as one each.
pub const SEND_BURST_MAX: u32 = 200;
/// Messages that one session or human may send in a second in the long run, when the settings do not say.
pub const SENDS_PER_SECOND: u32 = 20;
/// Senders whose pace is known one by one; beyond that, those who come anew share one.
pub const SENDERS_PACED_MAX: usize = 4096;
/// Recipients of a room's message of whom its sender is told where it is for them, in the answer to sending it.
pub const ROOM_DELIVERIES_SHOWN_MAX: usize = 200;
/// Messages of a person that are looked at, the newest, for one that the person has written.
pub const PERSON_MESSAGES_LOOKED_AT_MAX: usize = 200;
/// Addresses of one message.
pub const ADDRESSES_MAX: usize = 64;
/// How often the turn to speak may go from one to another, between two sessions or in one thread, before they have to wait.
pub const LOOP_TURNS_MAX: u32 = 40;
/// Time after which all of that is forgotten.
pub const LOOP_WINDOW_MS: i64 = 10 * 60 * 1000;
/// The last speakers of a thread that the loop guard knows.
pub const LOOP_SPEAKERS_MAX: usize = 16;
/// Pairs and threads that are watched for it at once.
pub const LOOPS_KNOWN_MAX: usize = 4096;
/// How long an answer is expected for, if the sender does not say.
pub const REPLY_EXPECTED_MS: i64 = 15 * 60 * 1000;
/// The longest time for which an answer is expected.
pub const REPLY_EXPECTED_MAX_MS: i64 = 7 * 24 * 60 * 60 * 1000;
/// The longest time after which a message may expire by its sender's word: at that age it is deleted anyhow.
pub const EXPIRY_MAX_MS: i64 = UNREAD_MESSAGE_AGE_MAX_MS;
/// Bytes of what a sender of claudemesh's kind puts beside a message.
pub const META_BYTES_MAX: usize = 4096;
/// Messages whose ids begin alike that are looked at to find the one that is meant.
pub const ID_BEGINNINGS_MAX: usize = 1000;
/// Messages of one WebSocket client of which it is told how far they get; of more, the oldest is not.
pub const WS_TRACKED_MAX: usize = 256;
/// Ad-hoc rooms of one session.
pub const ROOMS_PER_SESSION_MAX: usize = 256;
/// Groups that one session says it is in.
pub const GROUPS_PER_SESSION_MAX: usize = 32;
/// Levels of a group's name.
pub const GROUP_LEVELS_MAX: usize = 8;
/// Age at which a registration that was not renewed expires.
pub const REGISTRATION_AGE_MAX_MS: i64 = 24 * 60 * 60 * 1000;
/// Age of the persisted renewal of a registration after which the next one is written to the log.
pub const RENEWAL_PERSIST_EVERY_MS: i64 = 60 * 60 * 1000;
/// Message ids in one acknowledgement.
pub const ACK_IDS_MAX: usize = 1000;
/// Messages in one answer to a history or read request.
pub const PAGE_MESSAGES_MAX: usize = 200;
/// Messages in one answer when the caller does not say.
pub const PAGE_MESSAGES_DEFAULT: usize = 50;
/// Bytes of message bodies in one answer to a history or read request; one message is in it however long it is.
pub const PAGE_BODY_BYTES_MAX: usize = 1024 * 1024;
/// Unread messages looked at for one read request.
pub const READ_SCAN_MAX: usize = 20_000;
/// Stored messages looked at for one history request, which is a few milliseconds' work; the answer carries a cursor to go
/// on from.
pub const HISTORY_SCAN_MAX: usize = 1000;
/// The same for messages that are passed over for their time alone, which is less work.
pub const HISTORY_SKIP_MAX: usize = 10_000;
/// Bytes of message text looked through for the words of one request, times the words.
pub const HISTORY_SCAN_BYTES_MAX: usize = 512 * 1024;
/// Words of one search.
pub const SEARCH_WORDS_MAX: usize = 16;
/// Characters of a candidate's directory that are shown: its end.
pub const CANDIDATE_PATH_CHARS_MAX: usize = 48;
/// Candidates listed with an ambiguous address.
pub const CANDIDATES_MAX: usize = 10;
/// Messages, each in the place of the one before, that are followed to find the newest one; who asks again from the last
/// of them gets further.
pub const REPLACED_LINKS_MAX: usize = 1024;
/// How much of a session's id it takes to mean one that has ended, of which there are many more than are there.
pub const DEPARTED_BEGINNING_CHARS_MIN: usize = 4;
/// Rows changed by one sweep, give or take what hangs on the last one, and rows looked at, so that a sweep cannot hold up
/// callers; the next tick goes on.
pub const SWEEP_ROWS_MAX: usize = 1000;
/// Bytes of the file of keys that may attest a session's presence.
pub const PARENTS_BYTES_MAX: u64 = 64 * 1024;
/// How far ahead an attestation of a session's presence may end.
pub const ATTESTATION_AHEAD_MAX_MS: i64 = 24 * 60 * 60 * 1000;
/// How far the clock of one who proves its presence may be from ours.
pub const ATTESTATION_SKEW_MAX_MS: u64 = 60 * 1000;
/// Time between two sweeps.
pub const SWEEP_EVERY: Duration = Duration::from_secs(3);
/// Time that a WebSocket session outlives its client, so that it can reconnect.
pub const CLIENT_GRACE_MS: i64 = 10_000;
/// Sessions that one connected client has stated and that are gone, of which that is still known: a session that comes back
/// is that client's again. Beyond that, and beyond the number of those that are there, they are forgotten.
pub const CLAIMS_OF_GONE_SESSIONS_MAX: usize = 64;
/// Silence after which a hook session is gone.
pub const HOOK_SILENCE_MAX_MS: i64 = 60 * 60 * 1000;
/// Time for which a sign of life of one who sends stands for those that follow it: far less than anybody is shown.
pub const ACTIVITY_NOTED_EVERY_MS: i64 = 250;
/// Age of the persisted activity of a session after which the next activity is written to the log.
pub const ACTIVITY_PERSIST_EVERY_MS: i64 = 60 * 1000;
/// Time for which a message that was put into a hook answer is not put into another one, while it is not known
/// whether the answer arrived.
pub const HANDOVER_LEASE_MS: i64 = 15_000;
/// Time for which a sign is awaited that a message that was handed over was read, before it is handed over again.
pub const HANDED_LEASE_MS: i64 = 30_000;
/// How often a message is handed to one session before it counts as one that does not get there.
pub const HANDINGS_MAX: u32 = 25;
/// How often in a row the end of a turn is answered with mail, which begins another one. Hosts have bounds of their own
/// (Claude Code: 8).
pub const STOP_HANDINGS_MAX: u32 = 4;
/// Bytes of a process' environment that are looked at for signs of an agent; a longer one tells nothing.
pub const ENVIRONMENT_BYTES_MAX: usize = 256 * 1024;
/// Processes on one terminal that are looked at for agents; of a terminal with more nothing is told.
pub const TERMINAL_PROCESSES_MAX: usize = 1024;
/// Prompts of a session without the end of any turn, after which its hooks are taken not to report ends. Until then a prompt
/// proves nothing of an earlier one, which another hook may have erased.
pub const PROMPTS_WITHOUT_END_MAX: u32 = 5;
/// Silence of a session's hooks after which the turn that they told of is not sure any more, and urgent mail wakes it.
pub const HOOKS_SILENT_MS: i64 = 30_000;
/// Silence after which a session that said it was working, and is in no tool, gets its mail as one between two turns.
pub const WORKING_SILENCE_MAX_MS: i64 = 60_000;
/// The same for one that is using a tool, which may take its time; and the silence after which it is not sure any more that
/// a session still waits for its human.
pub const TOOL_SILENCE_MAX_MS: i64 = 15 * 60 * 1000;
/// Tools of one session that are at work at once and told apart; of more, the oldest is forgotten.
pub const OPEN_TOOLS_MAX: usize = 16;
/// Time for which a transcript is believed that showed a tool at work: it is looked at with each sweep.
pub const TRANSCRIPT_BELIEVED_MS: i64 = 10_000;
/// Silence of a session's hooks in the middle of a turn after which its transcript is looked at.
pub const TRANSCRIPT_AFTER_MS: i64 = 4_000;
/// Transcripts that wait to be looked at; the others' turn comes with the next sweep.
pub const TRANSCRIPT_LOOKS_MAX: usize = 64;
/// Bytes that are read of the end of a transcript.
pub const TRANSCRIPT_TAIL_BYTES_MAX: usize = 256 * 1024;
/// Transcripts of which it is known what they showed last; of more, those are read again.
pub const TRANSCRIPTS_KNOWN_MAX: usize = 1024;
/// How far the last line of a turn can be before the sign of life that was heard after it.
pub const TRANSCRIPT_SKEW_MS: i64 = 1_000;
/// How often a message wakes a session; after that it waits for another hook. Each time begins a turn of the model.
pub const WAKINGS_MAX: u32 = 3;
/// Sessions that are woken with one batch; the next follows.
pub const WAKES_AT_ONCE_MAX: usize = 256;
/// Pushes that wait for the end of a session's turn.
pub const PUSHES_HELD_MAX: usize = 64;
/// Messages that a client is pushed that comes back, or comes in another one's place.
pub const PUSH_AGAIN_MAX: usize = 20;
/// Age at which a message is not pushed again: shims of marshal 0.9 never acknowledge by themselves.
pub const PUSH_AGAIN_AGE_MAX_MS: i64 = 10 * 60 * 1000;
/// Messages to its rooms that are kept for a session that ended, the newest; and of a room that it leaves, of which it is told
/// that they did not get to it. What is older it has let lie in any case.
pub const KEPT_MESSAGES_MAX: usize = 1000;
/// Messages to its rooms of which it stays known that a session has read them when it has ended, the newest.
pub const KEPT_READS_MAX: usize = 1000;
/// The same for all sessions that are gone together: each takes some 400 bytes of memory and of the log. Of more, what is
/// known of the oldest messages is forgotten.
pub const KEPT_FOR_GONE_MAX: usize = 50_000;
/// Time after a session's end after which what it left of its rooms' messages ends unread.
pub const KEPT_AGE_MAX_MS: i64 = 24 * 60 * 60 * 1000;
/// The same for messages to it that do not say themselves until when they count, if nobody claims them.
pub const UNCLAIMED_MAIL_AGE_MAX_MS: i64 = 7 * 24 * 60 * 60 * 1000;
/// Time for which a session that ended is known by its id and its nickname, although it never sent or got a message to it.
pub const ENDED_KNOWN_MS: i64 = 24 * 60 * 60 * 1000;
/// Sessions that ended without mail that are known: the last, and of these first those that have sent or got messages,
/// which are known for as long as mail would be that they had left. Until then the nicknames of these are kept for them:
/// no other session gets one of such a name, by which somebody could still mean the first.
pub const DEPARTED_WITHOUT_MAIL_MAX: usize = 4096;
/// Messages taken over in one request.
pub const CLAIM_MESSAGES_MAX: usize = 1000;
/// Message ids named in a notice.
pub const NOTICE_IDS_MAX: usize = 10;
/// Fields read of a hook's event, from the beginning. Agents send about a dozen.
pub const HOOK_FIELDS_MAX: usize = 64;
/// Message ids that are looked for in the text of a prompt.
pub const QUOTED_IDS_MAX: usize = 64;
/// How far the wall clock may get ahead of the monotonic one between two sweeps before it counts as having leapt.
pub const CLOCK_LEAP_MAX_MS: i64 = 60 * 60 * 1000;
/// How far the wall clock of a start may be from the log's last line before it must stand as long as the next bound says
/// for anything to end on its word. Of a machine that is off over night nothing is put off by that.
pub const CLOCK_LEAP_AT_START_MAX_MS: i64 = 24 * 60 * 60 * 1000;
/// How long a wall clock that leapt must stand before messages are deleted on its word.
pub const CLOCK_BELIEVED_AFTER_MS: i64 = 24 * 60 * 60 * 1000;
/// How long a wall clock that leapt must stand before it is settled on its word that a message has expired.
pub const CLOCK_SETTLES_AFTER_MS: i64 = 60 * 1000;
/// Age at which a message that everybody has read is deleted.
pub const READ_MESSAGE_AGE_MAX_MS: i64 = 14 * 24 * 60 * 60 * 1000;
/// Age at which a message that somebody has not read is deleted.
pub const UNREAD_MESSAGE_AGE_MAX_MS: i64 = 30 * 24 * 60 * 60 * 1000;

// ---- processes ----

/// Bytes of what the system tells of a process: some fifty numbers and a short name.
pub const STAT_BYTES_MAX: usize = 2048;
/// Bytes of its `status`, some sixty lines, that are read: the one that counts is among the first.
pub const STATUS_BYTES_MAX: usize = 4096;
/// Processes that one thread remembers between two looks, each of which takes a file descriptor.
pub const ANCESTORS_REMEMBERED_MAX: usize = 64;
/// Threads that remember processes: those that serve HTTP, and the one that lets WebSocket clients in.
pub const REMEMBERING_THREADS: usize = HTTP_WORKERS + 1;
/// File descriptors that the system must allow for each that a thread remembers.
pub const DESCRIPTORS_PER_REMEMBERED: usize = 64;
/// Age at which a process is worth being remembered.
pub const REMEMBERED_AGE_MIN: Duration = Duration::from_secs(2);
/// Processes in a line of descent, from a caller up, that are looked at.
pub const ANCESTORS_MAX: usize = 1024;
/// How often the ancestors of a caller are looked at, should one of them end meanwhile.
pub const LINEAGE_TRIES: usize = 3;
/// Processes for which the system is asked to tell of their end, each of which takes a file descriptor; more are looked at.
pub const PROCESS_HANDLES_MAX: usize = 2048;
/// Time between two looks at the processes of which the system does not tell by itself.
pub const PROCESS_LOOK_EVERY: Duration = Duration::from_secs(3);
/// Processes waiting to be watched, or not any more. If there are more, the watcher is told of all anew.
pub const PROCESS_WISHES_MAX: usize = 1024;
/// Ends of processes that one look of the poll tells of.
pub const PROCESS_EVENTS_PER_TURN_MAX: usize = 256;

/// Members of a project's room that are looked at for the repository which it is of.
pub const PROJECT_MEMBERS_SEEN_MAX: usize = 64;

/// Time between two looks at the socket, the lock and the token in the state directory.
pub const KEEPER_LOOK_EVERY: Duration = Duration::from_secs(2);
/// Time that a stop grants the thread which does that.
pub const KEEPER_STOP_DEADLINE: Duration = Duration::from_millis(100);

// ---- git branches ----

/// Sessions whose git branch waits to be looked at; more are looked at with their next prompts.
pub const GIT_LOOK_QUEUE_MAX: usize = 64;
/// Time between two looks at the git branch of one session.
pub const GIT_LOOK_EVERY: Duration = Duration::from_secs(30);
/// Sessions of which it is known when they were looked at; of more, those are looked at again with each prompt.
pub const GIT_SESSIONS_MAX: usize = 4096;
/// Directories, from a session's own up, in which a git repository is looked for.
pub const GIT_PARENTS_MAX: usize = 64;
/// Bytes that are read of a file of git's.
pub const GIT_FILE_BYTES_MAX: u64 = 4096;

// ---- answers to agents ----

/// Messages in one hook answer.
pub const INBOX_MESSAGES_MAX: usize = 20;
/// Characters (UTF-16 units, as Claude Code counts) of one hook answer. Claude Code replaces more than 10,000 by a
/// file and a short preview, so that the agent would not see what was acknowledged.
pub const HOOK_ANSWER_CHARACTERS_MAX: usize = 9_000;

// ---- the log ----

/// Places in the order of rows that are left free between two batches of ours, for the rows of lines that others have
/// written between the two: far more than could be in the moment between the look at the log and the write.
pub const PLACES_BETWEEN_BATCHES: u64 = 1 << 20;
/// Bytes of one line of the log that a reader holds in memory; a longer line is skipped and reported.
pub const LOG_LINE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// How often a batch is written while others put other files in the log's place; after that the log is in nobody's hands.
pub const COMMIT_TRIES_MAX: usize = 10;
/// How often a file that others have put in the log's place in the instant in which a compacted one took it is put back,
/// should they do that again and again.
pub const PUT_BACK_TRIES_MAX: usize = 8;
/// How often a log is read again because it grew while it was read; after that half of it is as good as all of it.
pub const LOG_REREADS_MAX: u32 = 16;
/// Bytes before our end of the log by which a file that was rewritten in place is told from one that grew.
pub const LOG_END_BYTES: usize = 64;
/// Bytes that the watcher reads from the log in one step.
pub const LOG_CHUNK_BYTES: usize = 256 * 1024;
/// Events that the watcher hands to the store in one command.
pub const LOG_CHUNK_EVENTS_MAX: usize = 512;
/// Bytes of the log below which it is left as it is.
pub const COMPACT_OVER_BYTES: u64 = 4 * 1024 * 1024;
/// How many times the bytes of what counts the log may have before it is written anew.
pub const COMPACT_RATIO: u64 = 4;
/// Bytes that the store itself copies to the new log before it takes the old one's place; callers wait for that.
pub const COMPACT_SWAP_BYTES_MAX: u64 = 256 * 1024;
/// How often the compactor adds what has come meanwhile, before the store takes the rest in any case.
pub const COMPACT_EXTENDS_MAX: u32 = 8;
/// Bytes that the store copies at most then; if more has come, the compaction has failed for now.
pub const COMPACT_LAST_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Time after a failed compaction before the next one is tried.
pub const COMPACT_RETRY_MS: i64 = 60_000;
/// Callers who wait for one compaction.
pub const COMPACT_WAITING_MAX: usize = 16;
/// Time for which a log whose place was taken is watched for what somebody still appends to it.
pub const OLD_LOG_WATCH_MS: i64 = 60_000;
/// Logs whose places were taken that are watched at once, each of which takes a file descriptor; of more, the oldest is let
/// go before its time.
pub const OLD_LOGS_MAX: usize = 8;
/// Bytes of such logs, which take their place on the disk as long as they are watched: of more, the oldest are let go, but
/// for the last one.
pub const OLD_LOGS_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Bytes for which there must be room before a log that was full counts as healthy again.
pub const LOG_PROBE_BYTES: u64 = 8 * 1024;
/// Bytes that the text of a row may keep in reserve while a log is read; larger texts keep as much again as they need.
pub const ROW_TEXT_SPARE_BYTES: usize = 512;
/// Texts kept for sharing while a log is read, below which it is not worth a look which of them are still in use.
pub const SHARED_TEXTS_MIN: usize = 4096;
/// Quiet time after a change of the log's directory before it is looked at.
pub const WATCH_DEBOUNCE: Duration = Duration::from_millis(75);
/// Malformed lines that are named one by one in the daemon's own log; the rest is counted.
pub const MALFORMED_LINES_NAMED_MAX: usize = 10;

// ---- the daemon's life ----

/// Time for an ordered stop; after it the process exits all the same.
pub const STOP_DEADLINE: Duration = Duration::from_secs(2);
/// The same after a fault: callers who wait for an answer are better off without one.
pub const FAULT_STOP_DEADLINE: Duration = Duration::from_millis(500);
/// A turn of the store's loop longer than this is reported.
pub const SLOW_TURN: Duration = Duration::from_millis(100);
/// Time for the command line to wait for the daemon's answer.
pub const CLIENT_DEADLINE: Duration = Duration::from_secs(10);
/// Time for the command line to wait for a compaction.
pub const COMPACT_DEADLINE: Duration = Duration::from_secs(60);

// ---- the command line ----

/// Time for a hook that the command line runs to get its answer: of a session's end there are 1.5 s in all.
pub const HOOK_DEADLINE: Duration = Duration::from_millis(1200);
/// Bytes of a hook's event that the command line sends.
pub const HOOK_INPUT_BYTES_MAX: usize = HOOK_TAKEN_BYTES_MAX;
/// Bytes of a hook's event read at once by the command line.
pub const HOOK_READ_BYTES: usize = 64 * 1024;
/// Time until a hook's event must be on stdin. Agents write it when they start the hook.
pub const HOOK_INPUT_DEADLINE: Duration = Duration::from_secs(2);
/// Time that a complete event waits for the end of stdin.
pub const HOOK_INPUT_PATIENCE: Duration = Duration::from_millis(50);
/// Seconds between the tries of one who waits for a session's mail to find a daemon that went; after the last it gives up.
pub const WAIT_AGAIN_PAUSES_S: [u64; 10] = [1, 1, 2, 4, 8, 15, 30, 60, 60, 60];
/// How often one waits again for a session of which the daemon has not heard.
pub const WAIT_UNHEARD_OF_MAX: u32 = 2;
/// Time after which one who has found it again begins with these anew, and by which it waits longer than the daemon says.
pub const WAIT_PATIENCE: Duration = Duration::from_secs(60);
/// Bytes of an answer that the command line takes from the daemon.
pub const CLIENT_ANSWER_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Silence after which the stream of the daemon's events counts as broken: it shows a sign of life twice as often.
pub const EVENTS_SILENCE_MAX: Duration = Duration::from_secs(35);
/// Time until the first try to hear again of what happens, after the daemon has gone; then twice as long each time.
pub const FOLLOW_AGAIN_FIRST: Duration = Duration::from_millis(250);
/// Time between two tries at most, however long the daemon is away.
pub const FOLLOW_AGAIN_MAX: Duration = Duration::from_secs(4);
/// How long the command line waits for a message to get where it should, if it is not told.
pub const SEND_WAIT_MS: i64 = 60_000;
/// Bytes of a time zone file that are read. Real ones have a few KiB.
pub const ZONE_FILE_BYTES_MAX: u64 = 1024 * 1024;
/// Columns of one cell of a table on the terminal.
pub const CELL_COLUMNS_MAX: usize = 40;
/// Columns of the list of sessions.
pub const LIST_COLUMNS_MAX: usize = 100;
/// Columns below which a cell of that list is not cut.
pub const LIST_CELL_COLUMNS_MIN: usize = 8;
/// Characters of a message's id that people are shown at least, so that a short one is not ambiguous soon after.
pub const SHORT_ID_CHARS_MIN: usize = 5;
/// Characters of another message's id that is only mentioned, which the daemon has not told from all others.
pub const MENTIONED_ID_CHARS: usize = 8;
/// Characters of a text by which marshal's own words call a message.
pub const EXCERPT_CHARS_MAX: usize = 48;
/// Nicknames shown for one room.
pub const ROOM_MEMBERS_SHOWN_MAX: usize = 8;
/// Recipients shown after a message to a room was sent.
pub const RECIPIENTS_SHOWN_MAX: usize = 10;

const _: () = assert!(HEAD_BYTES_MAX < BODY_BYTES_MAX);
const _: () = assert!(HOOK_BODY_BYTES_MAX < GATE_HELD_BYTES_MAX / 8, "a few large requests are no reason to close any");
const _: () = assert!(BODY_BYTES_MAX < HOOK_BODY_BYTES_MAX && HOOK_BODY_BYTES_MAX < HOOK_TAKEN_BYTES_MAX);
const _: () = assert!(CHUNK_LINE_BYTES_MAX < TRAILER_BYTES_MAX && TRAILER_BYTES_MAX < CHUNK_FRAMING_BYTES_MAX);
const _: () = assert!(ANSWER_PATIENCE.as_millis() < ANSWER_DEADLINE.as_millis());
const _: () = assert!(
    2 * (GATE_CONNECTIONS_MAX + WS_CLIENTS_MAX + PROCESS_HANDLES_MAX)
        + WAITERS_MAX
        + DESCRIPTORS_RESERVED
        + REMEMBERING_THREADS * ANCESTORS_REMEMBERED_MAX
        < DESCRIPTORS_WANTED as usize,
    "with what is asked for, descriptors are not what runs out"
);
const _: () = assert!(STOP_LOOK_EVERY.as_millis() < STOP_DEADLINE.as_millis());
const _: () = assert!(4 * LOG_FLUSH_DEADLINE.as_millis() <= STOP_DEADLINE.as_millis());
const _: () = assert!(2 * LOG_QUEUE_LINES_RESERVED < LOG_QUEUE_LINES_MAX);
const _: () = assert!(MESSAGE_BODY_BYTES_MAX < BODY_BYTES_MAX / 2, "an escaped body must fit a request");
const _: () = assert!(BODY_BYTES_MAX < WS_MESSAGE_BYTES_MAX);
const _: () = assert!(MESSAGE_BODY_BYTES_MAX * 8 <= EVENTS_KEPT_BYTES_MAX && REGISTRATION_BYTES_MAX <= BODY_BYTES_MAX);
const _: () = assert!(WS_MESSAGE_BYTES_MAX < LOG_LINE_BYTES_MAX, "what came in must be readable from the log");
const _: () = assert!(ANSWER_QUEUE_MAX >= STORE_QUEUE_MAX + BATCH_COMMANDS_MAX);
const _: () = assert!(HOOK_ANSWER_CHARACTERS_MAX < 10_000);
const _: () = assert!(INBOX_MESSAGES_MAX <= ACK_IDS_MAX);
const _: () = assert!(PAGE_MESSAGES_MAX <= ACK_IDS_MAX, "what one page showed is acknowledged in one request");
const _: () = assert!(MESSAGE_BODY_BYTES_MAX < PAGE_BODY_BYTES_MAX && 8 * PAGE_BODY_BYTES_MAX <= GATE_HELD_BYTES_MAX);
const _: () = assert!(2 * RENEWAL_PERSIST_EVERY_MS < REGISTRATION_AGE_MAX_MS, "a restart forgets little of a renewal");
const _: () =
    assert!(KEPT_AGE_MAX_MS < UNCLAIMED_MAIL_AGE_MAX_MS && UNCLAIMED_MAIL_AGE_MAX_MS < UNREAD_MESSAGE_AGE_MAX_MS);
const _: () =
    assert!(ENDED_KNOWN_MS < UNCLAIMED_MAIL_AGE_MAX_MS, "a session with history is forgotten after one without");
const _: () = assert!(READ_MESSAGE_AGE_MAX_MS <= UNREAD_MESSAGE_AGE_MAX_MS);
const _: () = assert!(MESSAGE_BODY_BYTES_MAX < WS_SMALL_MESSAGE_BYTES && WS_SMALL_MESSAGE_BYTES < WS_MESSAGE_BYTES_MAX);
const _: () = assert!(WS_LARGE_MESSAGE_DEADLINE.as_secs() < WS_SILENCE_MAX.as_secs());
const _: () = assert!(WS_ANSWERS_OWED_MAX * 2 <= WS_OUTBOX_FRAMES_MAX);
const _: () = assert!(EVENTS_KEEP_ALIVE_EVERY.as_secs() * 2 < EVENTS_SILENCE_MAX.as_secs());
const _: () = assert!(WS_PING_EVERY.as_secs() * 2 < WS_SILENCE_MAX.as_secs());
const _: () = assert!(HANDOVER_LEASE_MS > ANSWER_DEADLINE.as_millis() as i64);
