//! A real browser on a page of another origin: finds one, serves the page, and gives what the page saw. It must not know
//! what the page should see.

use super::support::DEADLINE;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::thread::Builder;
use std::time::{Duration, Instant};

/// A browser that starts for the first time, beside other tests, takes its time.
const BROWSER_DEADLINE: Duration = Duration::from_secs(120);

/// A browser of this machine.
pub(crate) fn find() -> Option<PathBuf> {
    let names = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];
    names.iter().map(PathBuf::from).find(|path| path.exists())
}

/// A page that tries the doors, one after the other, and tells its own server what came of it.
pub(crate) fn page(hooks: SocketAddr, websocket: SocketAddr) -> String {
    let script = r#"
        const seen = [], note = text => seen.push('[' + text + ']');
        const plain = {method: 'POST', mode: 'no-cors', headers: {'Content-Type': 'text/plain'}, body: BODY};
        async function all() {
            await new Promise(done => {
                const socket = new WebSocket('ws://WEBSOCKET/myko');
                socket.onopen = () => { note('socket open'); done(); };
                socket.onclose = () => { note('socket closed'); done(); };
            });
            await fetch('http://HOOKS/v1/messages', plain).then(r => note('post ' + r.type), () => note('post failed'));
            await new Promise(done => {
                const make = (name, what) => Object.assign(document.createElement(name), what);
                const to = {method: 'POST', action: 'http://HOOKS/v1/messages', enctype: 'text/plain', target: 'sink'};
                const frame = document.body.appendChild(make('iframe', {name: 'sink'}));
                const form = document.body.appendChild(make('form', to));
                form.appendChild(make('input', {name: BODY, value: ''}));
                frame.onload = () => { note('form sent'); done(); };
                form.submit();
            });
            await fetch('http://HOOKS/v1/sessions').then(r => r.text()).then(() => note('fetch read'), () => note('fetch failed'));
        }
        all().catch(note).finally(() => fetch('/seen', {method: 'POST', body: seen.join(' ')}));
    "#;
    let body = r#"'{"human":"ana","to":"human:ana","body":"from a page"}'"#;
    let script = script.replace("BODY", body).replace("HOOKS", &hooks.to_string());
    let script = script.replace("WEBSOCKET", &websocket.to_string());
    format!("<!doctype html><title>x</title><body><script>{script}</script>")
}

/// The browser's process, which ends with this.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Shows the page to the browser, and gives what the page says that it saw; none if the browser does not run here.
pub(crate) fn visit(browser: &Path, page: &str) -> Option<String> {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (tell, told) = channel();
    let page = page.to_owned();
    // A browser opens connections before it knows what for: each has a thread of its own.
    let on_its_own = move |stream| {
        let (page, tell) = (page.clone(), tell.clone());
        drop(Builder::new().name("page".to_owned()).spawn(move || serve(stream, &page, &tell)).unwrap());
    };
    let accept = move || listener.incoming().flatten().for_each(on_its_own);
    Builder::new().name("pages".to_owned()).spawn(accept).unwrap();
    let profile = tempfile::tempdir().unwrap();
    let mut command = Command::new(browser);
    command
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"])
        .args(["--remote-debugging-port=0", "--disable-background-networking"])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(format!("http://{address}/"))
        .env_clear()
        .env("HOME", profile.path())
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut running = Running(command.spawn().unwrap());
    let begun = Instant::now();
    loop {
        match told.recv_timeout(Duration::from_millis(500)) {
            Ok(seen) => return Some(seen),
            Err(_) if running.0.try_wait().unwrap().is_some() => return None,
            Err(_) => assert!(begun.elapsed() < BROWSER_DEADLINE, "the browser runs, and does not show the page"),
        }
    }
}

/// The page for every GET; the body of a POST is what was seen.
fn serve(stream: TcpStream, page: &str, tell: &Sender<String>) {
    let _ = stream.set_read_timeout(Some(DEADLINE));
    let mut reader = BufReader::new(&stream);
    let (mut first, mut length) = (String::new(), 0);
    let _ = reader.read_line(&mut first);
    let mut line = String::new();
    while reader.read_line(&mut line).is_ok_and(|count| count > 2) {
        if let Some(digits) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = digits.trim().parse().unwrap();
        }
        line.clear();
    }
    let mut body = vec![0; length];
    let _ = reader.read_exact(&mut body);
    let text = if first.starts_with("GET / ") { page } else { "" };
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\nContent-Length:";
    let _ = (&stream).write_all(format!("{head} {}\r\n\r\n{text}", text.len()).as_bytes());
    if first.starts_with("POST") {
        let _ = tell.send(String::from_utf8(body).unwrap());
    }
}
