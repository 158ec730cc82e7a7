//! A session with a known process lives exactly as long as the process: the real binary, and processes that are killed,
//! not reaped, or followed by another bearer of their id.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)] // a test fails by panicking, in its helpers too

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};
use support::events::Events;
use support::skip::{has_program, is_root, skipped};
use support::{Answer, Daemon, Place, Watch, hook_body, post, request};

/// Within this time a death is known: the promise.
const AT_ONCE: Duration = Duration::from_secs(1);

/// A process that does nothing until it is killed, which it is at the latest with this.
struct Sleeper(Child);

impl Sleeper {
    fn start() -> Self {
        Self::start_with(|_| {})
    }

    fn start_with(change: impl FnOnce(&mut Command)) -> Self {
        let mut command = Command::new("sleep");
        change(command.arg("600").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()));
        Self(command.spawn().unwrap())
    }

    fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Kills it, and leaves it to be reaped.
    fn kill(&mut self) {
        self.0.kill().unwrap();
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start_in(daemon: &Daemon, id: &str, pid: impl std::fmt::Display) -> Answer {
    start_at(daemon.hooks, id, pid)
}

fn start_at(hooks: SocketAddr, id: &str, pid: impl std::fmt::Display) -> Answer {
    let answer = post(hooks, &format!("/hook/session-start?pid={pid}"), &[], hook_body(id, "/w/x").as_bytes());
    assert_eq!(answer.status, 200, "{answer:?}");
    answer
}

/// The last word of the log about the process of a session.
fn process_of(place: &Place, id: &str) -> serde_json::Value {
    let events = place.log_events();
    let mut rows = events.iter().rev().filter(|event| event["itemType"] == "Session" && event["item"]["id"] == id);
    rows.next().unwrap()["item"]["process"].clone()
}

fn listing(place: &Place) -> String {
    String::from_utf8(place.run(&["ls"]).stdout).unwrap()
}

fn nickname(id: &str) -> String {
    format!("x@{}", id.chars().take(8).collect::<String>())
}

/// How often a thread of a process has gone to sleep.
fn sleeps(pid: u32, thread: &str) -> u64 {
    let mut tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().map(|task| task.unwrap().path());
    let has_name = |path: &std::path::PathBuf| std::fs::read_to_string(path.join("comm")).unwrap().trim() == thread;
    let task = tasks.find(has_name).unwrap_or_else(|| panic!("there is a thread {thread}"));
    let status = std::fs::read_to_string(task.join("status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:")).unwrap();
    line.trim().parse().unwrap()
}

/// Lets two ticks of the sweeper pass, while agents go about their work.
fn let_time_pass(daemon: &Daemon) {
    let before = sleeps(daemon.pid(), "sweeper");
    while sleeps(daemon.pid(), "sweeper") < before + 2 {
        assert_eq!(daemon.prompt("s0").status, 200);
    }
}

/// Kills a process a hundred times, and says how long the worst took until it was announced, and gone from the list.
fn kill_a_hundred(place: &Place, daemon: &Daemon) -> Duration {
    let mut events = Events::subscribe(&daemon.socket, &[]);
    let mut told = |name: &str, id: &str| loop {
        let event = events.next_event();
        let of = event.data["sessionId"].as_str().or(event.data["session"]["sessionId"].as_str());
        match (event.name.as_str(), of) {
            (seen, Some(of)) if seen == name && of == id => return event,
            ("leave", of) => panic!("{of:?} has gone: {event:?}"),
            _ => {}
        }
    };
    let mut worst = Duration::ZERO;
    for round in 0..100 {
        let (mut sleeper, id) = (Sleeper::start(), format!("k{round}"));
        start_in(daemon, &id, sleeper.pid());
        told("join", &id);
        sleeper.kill();
        let killed_at = Instant::now();
        // Not reaped until the end of the round: a zombie is dead.
        let leave = told("leave", &id);
        assert_eq!(leave.data["reason"], "process_died");
        assert!(!listing(place).contains(&nickname(&id)), "round {round}");
        let took = killed_at.elapsed();
        assert!(took < AT_ONCE, "round {round} took {took:?}");
        worst = worst.max(took);
    }
    worst
}

/// Checklist M10 and M15: without a death, the watcher costs nothing, however many there are.
#[test]
fn a_killed_process_is_known_within_a_second_among_a_thousand_others_and_nobody_wakes_between() {
    let place = Place::new();
    let daemon = place.start();
    let herd: Vec<Sleeper> = (0..1000).map(|_| Sleeper::start()).collect();
    std::thread::scope(|scope| {
        for part in 0..4 {
            let (herd, hooks) = (&herd, daemon.hooks);
            scope.spawn(move || {
                for number in (part..1000).step_by(4) {
                    start_at(hooks, &format!("s{number}"), herd[number].pid());
                }
            });
        }
    });
    let worst = kill_a_hundred(&place, &daemon);
    eprintln!("the slowest of 100 deaths was known after {worst:?}");
    assert_eq!(daemon.sessions().len(), 1000);
    let before = sleeps(daemon.pid(), "process-watcher");
    let_time_pass(&daemon);
    assert_eq!(sleeps(daemon.pid(), "process-watcher"), before, "no wake-up without a death");
    assert_eq!(daemon.sessions().len(), 1000);
}

/// Checklist M12.
#[test]
fn a_zombie_is_dead() {
    let place = Place::new();
    let daemon = place.start();
    let mut sleeper = Sleeper::start();
    start_in(&daemon, "a", sleeper.pid());
    let mut watch = Watch::start(&daemon, "Session");
    sleeper.kill();
    watch.until("its end", |rows| rows.is_empty());
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", sleeper.pid())).unwrap();
    assert!(stat.contains(") Z "), "{stat}");
    start_in(&daemon, "b", sleeper.pid());
    assert!(process_of(&place, "b").is_null(), "nobody can live in it any more");
}

/// Checklist M11, its last part.
#[test]
fn a_session_that_went_on_in_another_process_survives_the_first() {
    let place = Place::new();
    let daemon = place.start();
    let (mut first, mut second) = (Sleeper::start(), Sleeper::start());
    start_in(&daemon, "moved", first.pid());
    start_in(&daemon, "stayed", first.pid());
    let path = format!("/hook/prompt-submit?pid={}", second.pid());
    assert_eq!(daemon.hook(&path, &hook_body("moved", "")).status, 200);
    let mut watch = Watch::start(&daemon, "Session");
    first.kill();
    watch.until("the end of one", |rows| rows.len() == 1);
    assert!(watch.rows.contains_key("moved"));
    second.kill();
    watch.until("the end of the other", |rows| rows.is_empty());
}

/// Checklist M16, of hook sessions.
/// The key under which the daemon signs its lines.
fn log_key(place: &Place) -> marshal::event_log::key::LogKey {
    let digits = std::fs::read_to_string(place.state().join("log.key")).unwrap();
    let byte = |at: usize| u8::from_str_radix(&digits[at * 2..at * 2 + 2], 16).unwrap();
    marshal::event_log::key::LogKey::of(std::array::from_fn(byte))
}

#[test]
fn after_a_restart_those_who_died_meanwhile_go_at_once_and_the_others_stay() {
    let place = Place::new();
    let daemon = place.start();
    let mut sleepers: Vec<Sleeper> = (0..7).map(|_| Sleeper::start()).collect();
    for (number, sleeper) in sleepers.iter().enumerate() {
        start_in(&daemon, &format!("s{number}"), sleeper.pid());
    }
    assert_eq!(daemon.stop(), Some(0));
    sleepers.truncate(6);
    // As if the machine had been started anew, and another process had this id: only the boot tells.
    let boot = process_of(&place, "s5")["boot"].as_str().unwrap().to_owned();
    let log = std::fs::read_to_string(place.log_path()).unwrap();
    let key = log_key(&place);
    let of_another_boot = |line: &str| match line.rsplit_once(r#","sum":""#) {
        Some((said, _)) if line.contains(r#""id":"s5""#) => {
            let said = said.replace(&boot, "00000000-0000-0000-0000-000000000000");
            format!("{said},\"sum\":\"{:016x}\"}}\n", key.sum(said.as_bytes()))
        }
        _ => line.to_owned() + "\n",
    };
    std::fs::write(place.log_path(), log.lines().map(of_another_boot).collect::<String>()).unwrap();
    let daemon = place.start();
    let started_at = Instant::now();
    let mut watch = Watch::start(&daemon, "Session");
    watch.until("the end of the dead", |rows| rows.len() == 5);
    assert!(started_at.elapsed() < AT_ONCE, "it took {:?}", started_at.elapsed());
    assert_eq!(watch.rows.keys().collect::<Vec<_>>(), ["s0", "s1", "s2", "s3", "s4"]);
    sleepers[3].kill();
    watch.until("the end of one that had lived", |rows| rows.len() == 4);
}

#[test]
fn without_room_for_handles_deaths_are_found_all_the_same() {
    let place = Place::new();
    let daemon = place.start_with(|command| {
        let mut shell = Command::new("sh");
        shell.args(["-c", r#"ulimit -n 66 && exec "$0" serve"#, env!("CARGO_BIN_EXE_marshal")]).env_clear();
        shell.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        shell.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        *command = shell;
    });
    let mut sleepers: Vec<Sleeper> = (0..8).map(|_| Sleeper::start()).collect();
    for (number, sleeper) in sleepers.iter().enumerate() {
        start_in(&daemon, &format!("s{number}"), sleeper.pid());
    }
    let mut watch = Watch::start(&daemon, "Session");
    for number in [7, 0, 5] {
        let left = watch.rows.len() - 1;
        sleepers[number].kill();
        watch.until("the end of one", |rows| rows.len() == left);
        assert!(!watch.rows.contains_key(&format!("s{number}")));
    }
}

#[test]
fn a_pid_that_cannot_be_that_of_an_agent_is_left_out_and_the_hook_succeeds() {
    let place = Place::new();
    let daemon = place.start();
    let mut dead = Sleeper::start();
    dead.kill();
    dead.0.wait().unwrap();
    let alive = Sleeper::start();
    let dead = dead.pid().to_string();
    let elsewhere = format!("{}&host=not-{}", alive.pid(), std::process::id());
    let mut wrong =
        vec!["", "0", "1", "-1", "seven", "4294967296", "4294967295", "99999999999999999999", "%20", &dead, &elsewhere];
    let other = is_root("the pid of another user's process").then(|| {
        Sleeper::start_with(|command| {
            command.uid(65534);
        })
    });
    let other = other.as_ref().map(|sleeper| sleeper.pid().to_string());
    wrong.extend(other.as_deref());
    for (number, pid) in wrong.iter().enumerate() {
        let id = format!("s{number}");
        assert!(start_in(&daemon, &id, pid).text().contains("marshal"));
        assert!(process_of(&place, &id).is_null(), "pid={pid}");
    }
    let here = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    start_in(&daemon, "right", format!("{}&host={}.example", alive.pid(), here.trim()));
    assert_eq!(process_of(&place, "right")["pid"], alive.pid());
}

/// A daemon in a world of its own, where ids of processes are given as the test wants.
struct Namespace {
    init: Child,
    answers: BufReader<ChildStdout>,
    said: BufReader<std::process::ChildStderr>,
    hooks: SocketAddr,
}

/// The first process of that world: it starts and stops the daemon, and processes with given ids. Their births are told
/// apart by hundredths of a second: a system that gives ids in turn never gives one again so soon, and here it is waited for.
const INIT: &str = r#"
serve() { "$MARSHAL" serve </dev/null >/dev/null & daemon=$!; }
now() { read -r now _ < /proc/uptime; }
bear() {
  now; while [ "$now" = "$born" ]; do now; done
  echo $(($1 - 1)) > /proc/sys/kernel/ns_last_pid; sleep 600 </dev/null >/dev/null 2>&1 &
  echo $!; now; born=$now
}
bury() { kill -9 $1; wait $1; }
# Connects, leaves the connection to a child, and ends. The child waits for a word, asks, and says how it was answered.
LEAVE='socket(S, AF_UNIX, SOCK_STREAM, 0) && connect(S, sockaddr_un("$ENV{MARSHAL_STATE_DIR}/marshal.sock")) or die $!;
  exit if fork;
  open(my $go, "<", "$ENV{MARSHAL_STATE_DIR}/go") or die $!; readline $go;
  my $body = q({"to":"human:ana","body":"borrowed","elseHuman":"ana"});
  syswrite S, "POST /v1/messages HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: "
    . length($body) . "\r\n\r\n$body";
  my $line = readline S; $line =~ / (\d+)/; $| = 1; print "$1\n";'
leave() {
  rm -f "$MARSHAL_STATE_DIR/go"; mkfifo "$MARSHAL_STATE_DIR/go"
  echo $(($1 - 1)) > /proc/sys/kernel/ns_last_pid; perl -MSocket -e "$LEAVE" </dev/null & echo $!; wait $!
}
serve
while read -r verb id; do
  case $verb in
    bear) bear $id ;;
    bury) bury $id; echo $id ;;
    leave) leave $id ;;
    go) echo go > "$MARSHAL_STATE_DIR/go" ;;
    swap) kill -STOP $daemon; bury $id; bear $id; kill -CONT $daemon ;;
    swap-while-down) kill -TERM $daemon; wait $daemon; bury $id; bear $id; serve ;;
  esac
done
kill -9 -1
"#;

impl Namespace {
    fn start(place: &Place) -> Self {
        let marshal = place.command();
        let mut command = Command::new("unshare");
        command.args(["--pid", "--fork", "--mount-proc", "--kill-child", "sh", "-c", INIT]).env_clear();
        command.envs(marshal.get_envs().map(|(name, value)| (name, value.unwrap())));
        command.env("MARSHAL", marshal.get_program());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut init = command.spawn().unwrap();
        let answers = BufReader::new(init.stdout.take().unwrap());
        let said = BufReader::new(init.stderr.take().unwrap());
        let mut namespace = Self { init, answers, said, hooks: "127.0.0.1:0".parse().unwrap() };
        namespace.wait_until_ready();
        namespace
    }

    fn wait_until_ready(&mut self) {
        let mut lines = self.said.by_ref().lines();
        let ready = lines.find(|line| line.as_ref().unwrap().contains("ready: ")).unwrap().unwrap();
        let address = ready.split_whitespace().find_map(|word| word.strip_prefix("http://")).unwrap();
        self.hooks = address.parse().unwrap();
    }

    /// Has something done with the process of an id, and gives the id of what is there then.
    fn tell(&mut self, verb: &str, id: u32) -> u32 {
        writeln!(self.init.stdin.as_mut().unwrap(), "{verb} {id}").unwrap();
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        line.trim().parse().unwrap()
    }

    fn sessions(&self) -> Vec<String> {
        let answer = request(self.hooks, "GET", "/v1/sessions", &[], b"").json();
        let sessions = answer["sessions"].as_array().unwrap();
        sessions.iter().map(|session| session["sessionId"].as_str().unwrap().to_owned()).collect()
    }

    fn until(&self, wanted: &[&str]) {
        let begun_at = Instant::now();
        while self.sessions() != wanted {
            assert!(begun_at.elapsed() < AT_ONCE, "{:?}, not {wanted:?}", self.sessions());
        }
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // With its first process all others end.
        let _ = self.init.kill();
        let _ = self.init.wait();
    }
}

/// Whether tests can give ids to processes here. If not, that is noted.
fn can_give_ids(what: &str) -> bool {
    let mut probe = Command::new("unshare");
    probe.args(["--pid", "--fork", "--mount-proc", "test", "-w", "/proc/sys/kernel/ns_last_pid"]);
    let can = probe.stderr(Stdio::null()).status().is_ok_and(|status| status.success());
    if !can {
        skipped("namespaces", what);
    }
    can
}

/// row 106: a connection outlives the process that made it, and another process gets that one's id.
#[test]
fn a_connection_is_not_taken_for_that_of_a_later_process_with_its_makers_id() {
    let what = "a connection of a process whose id another one gets";
    if !can_give_ids(what) || !has_program("perl", what) {
        return;
    }
    let place = Place::new();
    let mut world = Namespace::start(&place);
    const ID: u32 = 4000;
    assert_eq!(world.tell("leave", ID), ID);
    assert_eq!(world.tell("bear", ID), ID);
    start_at(world.hooks, "victim", ID);
    world.until(&["victim"]);
    assert_eq!(world.tell("go", 0), 401, "it is nobody: its own process has ended");
    let history = request(world.hooks, "GET", "/v1/messages", &[], b"").json();
    assert_eq!(history["messages"].as_array().unwrap().len(), 0, "{history}");
}

/// Checklist M11.
#[test]
fn another_process_with_the_same_id_is_never_mistaken_for_the_one_that_died() {
    if !can_give_ids("another process with the same id") {
        return;
    }
    let place = Place::new();
    let mut world = Namespace::start(&place);
    const ID: u32 = 4000;
    assert_eq!(world.tell("bear", ID), ID);
    start_at(world.hooks, "a", ID);
    for (verb, session) in [("swap", "b"), ("swap-while-down", "c"), ("swap", "d")] {
        // The daemon sees neither the end nor the beginning as it happens: when it looks, the id is there, as before.
        assert_eq!(world.tell(verb, ID), ID);
        if verb == "swap-while-down" {
            world.wait_until_ready();
        }
        world.until(&[]);
        start_at(world.hooks, session, ID);
        world.until(&[session]);
    }
    world.tell("bury", ID);
    world.until(&[]);
}
