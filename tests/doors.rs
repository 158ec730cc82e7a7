//! The doors as their owner uses them: the token shown, changed and switched off, addresses that other machines reach, and
//! how often one sender may send.
#![allow(clippy::unwrap_used)] // a test that fails must fail loudly

mod support;

use serde_json::json;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::process::Output;
use support::{Answer, Daemon, Place, Shim, raw, raw_unix, request};

const JSON: (&str, &str) = ("Content-Type", "application/json");

fn bearer(place: &Place) -> String {
    format!("Bearer {}", place.token())
}

fn version(door: SocketAddr, bearer: &str) -> u16 {
    request(door, "GET", "/v1/version", &[("Authorization", bearer)], b"").status
}

fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap()
}

#[test]
fn a_new_token_counts_at_once_and_the_old_one_no_more() {
    let place = Place::new();
    let none = place.run(&["token", "show"]);
    assert_eq!((none.status.code(), none.stdout.len()), (Some(1), 0), "{none:?}");
    let mut daemon = place.start_locked();
    let mut old = bearer(&place);
    for _ in 0..20 {
        assert_eq!(version(daemon.hooks, &old), 200);
        let rotated = place.run(&["token", "rotate"]);
        let said = format!("a new token is in {0}/token and {0}/token.header\n", place.state().display());
        assert_eq!((rotated.status.code(), stdout(&rotated)), (Some(0), said.as_str()));
        let new = bearer(&place);
        for door in [daemon.hooks, daemon.websocket] {
            assert_eq!((version(door, &new), version(door, &old)), (200, 401));
        }
        let header = std::fs::read_to_string(place.state().join("token.header")).unwrap();
        assert_eq!(header, format!("Authorization: {new}\n"));
        assert_eq!(stdout(&place.run(&["token", "show"])), format!("{}\n", place.token()));
        old = new;
    }
    daemon.wait_for_line("the machine's token is a new one");
    // Whoever got hold of the token cannot lock its owner out with it.
    let over_tcp = request(daemon.hooks, "POST", "/v1/token/rotate", &[("Authorization", &old), JSON], b"{}");
    assert_eq!((over_tcp.status, over_tcp.json()["error"]["code"].clone()), (403, json!("forbidden")));
    let read = raw_unix(&daemon.socket, b"GET /v1/token/rotate HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(read.status, 405);
    assert_eq!(version(daemon.hooks, &old), 200);

    // It outlives the daemon, and can be changed without one.
    assert_eq!(daemon.stop(), Some(0));
    let daemon = place.start_locked();
    assert_eq!(version(daemon.hooks, &old), 200);
    daemon.kill();
    assert!(place.run(&["token", "rotate"]).status.success());
    let daemon = place.start_locked();
    assert_eq!((version(daemon.hooks, &old), version(daemon.hooks, &bearer(&place))), (401, 200));
}

#[test]
fn many_who_change_the_token_at_once_leave_one_that_works() {
    let place = Place::new();
    let daemon = place.start_locked();
    let children: Vec<_> = (0..8)
        .map(|_| place.command().args(["token", "rotate"]).stderr(std::process::Stdio::null()).spawn().unwrap())
        .collect();
    let codes: Vec<_> = children.into_iter().map(|mut child| child.wait().unwrap().code()).collect();
    // Some may have been told to come back; nobody else was.
    assert!(codes.iter().all(|code| matches!(code, Some(0 | 1))) && codes.contains(&Some(0)), "{codes:?}");
    assert_eq!(version(daemon.hooks, &bearer(&place)), 200);
    let header = std::fs::read_to_string(place.state().join("token.header")).unwrap();
    assert_eq!(header, format!("Authorization: {}\n", bearer(&place)));
}

#[test]
fn curl_with_the_header_file_gets_in() {
    let place = Place::new();
    let daemon = place.start_locked();
    let header = format!("@{}", place.state().join("token.header").display());
    let mut curl = std::process::Command::new("curl");
    curl.args(["-fsS", "--max-time", "10", "-H", &header]).arg(format!("http://{}/v1/version", daemon.hooks));
    let output = curl.env_clear().output().unwrap();
    assert!(stdout(&output).contains("\"name\":\"marshal\""), "{output:?}");
}

// row 49
#[test]
fn a_name_that_the_settings_allow_leads_in_and_another_one_says_what_would() {
    let place = Place::new();
    let get = |daemon: &Daemon, host: &str| {
        raw(daemon.hooks, format!("GET /v1/version HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes())
    };
    let daemon = place.start();
    let refused = get(&daemon, "host.docker.internal:6156");
    assert_eq!(refused.status, 403);
    let message = refused.json()["error"]["message"].as_str().unwrap().to_owned();
    let setting = "MARSHAL_ALLOWED_HOSTS=host.docker.internal";
    assert!(message.ends_with(setting), "{message}");
    drop(daemon);
    let (name, value) = setting.split_once('=').unwrap();
    let daemon = place.start_with(|command| {
        command.env(name, value);
    });
    assert_eq!(get(&daemon, "host.docker.internal:6156").status, 200);
    assert_eq!(get(&daemon, "evil.example").status, 403);
    drop(daemon);
    let wrong = place.run(&["serve", "--allowed-hosts", "*"]);
    assert_eq!(wrong.status.code(), Some(78), "{wrong:?}");
}

#[test]
fn what_is_asked_for_is_said_everywhere() {
    let place = Place::new();
    let locked = place.start_locked();
    let health = request(locked.hooks, "GET", "/healthz", &[("Authorization", &bearer(&place))], b"").json();
    assert_eq!(health, json!({"status": "ok", "auth": "token"}));
    assert!(stdout(&place.run(&["status"])).contains("\nauth       token\n"));
    assert!(locked.said.iter().all(|line| !line.contains("auth none")), "{:?}", locked.said);
    drop(locked);
    let mut open = place.start_with(|command| {
        command.env_remove("MARSHAL_AUTH").args(["--auth", "none"]);
    });
    assert!(open.wait_for_line("auth none").contains("[WARN]"));
    assert_eq!(open.get("/healthz").json(), json!({"status": "ok", "auth": "none"}));
    assert_eq!(open.get("/v1/status").json()["auth"], "none");
    let status = place.run(&["status"]);
    assert!(stdout(&status).contains("auth       none (anybody on this machine"), "{status:?}");
    // A token that nobody asked for is no reason to refuse anybody, and foreign pages stay out all the same.
    assert_eq!(version(open.hooks, "Bearer x"), 200);
    assert_eq!(request(open.hooks, "GET", "/v1/version", &[("Origin", "http://evil.example")], b"").status, 403);
    assert_eq!(request(open.hooks, "GET", "/v1/version?token=x", &[], b"").status, 400);
}

/// An address of this machine that is not a loopback one. Nothing is sent to find it.
fn own_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.connect("192.0.2.1:9").ok()?;
    Some(socket.local_addr().unwrap().ip())
}

fn get(door: SocketAddr, host: &str, bearer: &str) -> Answer {
    let lines = format!("Host: {host}\r\nAuthorization: {bearer}\r\n");
    raw(door, format!("GET /v1/version HTTP/1.1\r\n{lines}\r\n").as_bytes())
}

#[test]
fn a_door_to_other_machines_asks_for_the_token_and_goes_by_its_number() {
    let Some(own) = own_address() else {
        return support::skip::skipped("an address besides the loopback ones", "a door to other machines");
    };
    for bind in ["0.0.0.0:0".to_owned(), format!("{own}:0")] {
        let place = Place::new();
        let daemon = place.start_with(|command| {
            command.env_remove("MARSHAL_AUTH").env("MARSHAL_HOOK_BIND", &bind);
        });
        assert!(daemon.said.iter().any(|line| line.contains("[WARN]") && line.contains("other machines")));
        let (door, token) = (SocketAddr::new(own, daemon.hooks.port()), bearer(&place));
        let port = door.port();
        assert_eq!(get(door, &format!("{own}:{port}"), &token).status, 200);
        assert_eq!(get(door, &own.to_string(), &token).status, 200);
        assert_eq!(get(door, &own.to_string(), "Bearer x").status, 401);
        for host in ["0.0.0.0", "192.0.2.1", "evil.example", "[::]"] {
            assert_eq!(get(door, host, &token).status, 403, "{bind} {host}");
        }
        let page = request(door, "GET", "/v1/version", &[("Authorization", &token), ("Origin", "http://0.0.0.0")], b"");
        assert_eq!(page.status, 403);
        if bind.starts_with("0.0.0.0") {
            let local = SocketAddr::from(([127, 0, 0, 1], port));
            assert_eq!(get(local, &format!("127.0.0.1:{port}"), &token).status, 200);
            assert_eq!(
                get(local, &own.to_string(), &token).status,
                403,
                "who came to another address calls it by that"
            );
        }
        assert_eq!(daemon.stop(), Some(0));
    }
}

#[test]
fn a_sender_that_does_not_stop_is_told_when_to_come_back() {
    let place = Place::new();
    let daemon = place.start_with(|command| {
        command.args(["--sends-per-second", "1"]);
    });
    daemon.start_session("a", "/w/a");
    daemon.start_session("b", "/w/b");
    let message = |from: &str| daemon.post_json("/v1/messages", &json!({"asSession": from, "to": "b", "body": "x"}));
    let refused = loop {
        let answer = message("a");
        if answer.status != 201 {
            break answer;
        }
    };
    assert_eq!((refused.status, refused.json()["error"]["code"].clone()), (429, json!("rate_limited")));
    let wait: u32 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=2).contains(&wait), "{wait}");
    // Under its other names it is the same one; another one is not held up, and neither is reading.
    let under_nickname = daemon.sessions()["a"]["nickname"].as_str().unwrap().to_owned();
    let answers = [message(&under_nickname).status, message("a").status];
    assert!(answers.contains(&429), "one turn a second may have come back, not two: {answers:?}");
    assert_eq!(message("b").status, 201);
    assert_eq!(daemon.get("/v1/inbox?session=a").status, 200);
    let burst = marshal::limits::SEND_BURST_MAX;
    let stored = daemon.get("/metrics");
    let stored = stored.text().lines().find_map(|line| line.strip_prefix("marshal_messages ")).unwrap();
    assert!(stored.parse::<u32>().unwrap() >= burst, "{stored}");

    let registration =
        json!({"token": "5e".repeat(32), "session_id": "r", "display_name": "r", "pid": std::process::id()});
    let refused = loop {
        let answer = daemon.post_json("/v1/sessions/register", &registration);
        if answer.status != 200 {
            break answer;
        }
    };
    assert_eq!((refused.status, refused.header("retry-after").is_some()), (429, true), "{refused:?}");

    let mut shim = daemon.connect();
    shim.publish("s", "s", "/w/s");
    let error = loop {
        let answer = shim.command("SendMessage", json!({"toSessionId": "b", "body": "x"}));
        if answer["code"].is_string() {
            break answer;
        }
    };
    assert_eq!(error["code"], "rate_limited");
    assert!(error["message"].as_str().unwrap().contains("try again in "), "{error}");
    let command = shim.command("JoinRoom", json!({"name": "r"}));
    assert!(command["code"] == "rate_limited" || command["response"].is_object(), "{command}");
}

#[test]
fn a_shim_with_the_token_works_as_any_other() {
    let place = Place::new();
    let daemon = place.start_locked();
    let bearer = bearer(&place);
    let mut shim = Shim::connect_with(daemon.websocket, &[("authorization", &bearer)]).ok().unwrap();
    shim.publish("s", "s", "/w/s");
    assert!(shim.command("SetSessionCurrentTask", json!({"id": "s"}))["response"].is_null());
    let headers = [("Authorization", bearer.as_str()), JSON];
    let body = json!({"human": "ana", "to": "s", "body": "hi"}).to_string();
    assert_eq!(request(daemon.hooks, "POST", "/v1/messages", &headers, body.as_bytes()).status, 201);
    assert_eq!(shim.push()["meta"]["body"], "hi");
}
