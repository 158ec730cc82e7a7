//! The machine's token: the secret that callers over TCP must show, in a file that only its owner can read. It must not
//! put the secret anywhere but into its two files and, where that is asked for, into the hands of their owner.

use crate::bom;
use crate::error::{Fatal, exit_code, explain_in};
use crate::model::TokenHash;
use crate::thread::{self, Exit};
use crossbeam_channel::{Receiver, Sender};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::fmt;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

/// The file that holds the token, in one line.
pub const TOKEN_NAME: &str = "token";
/// The file that holds the header to show it in, for `curl -H @file`.
pub const HEADER_NAME: &str = "token.header";
/// A file on its way to become one of those; left over by a crash it means nothing.
const NEW_NAME: &str = "token.new";

/// Random bytes of a token.
const TOKEN_BYTES: usize = 32;
/// Bytes that are read of such a file: more than either has.
const READ_BYTES_MAX: u64 = 1024;

/// The token itself. It cannot be printed by accident.
#[derive(Clone, PartialEq, Eq)]
pub struct MachineToken(String);

impl fmt::Debug for MachineToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MachineToken")
    }
}

impl MachineToken {
    /// A new one.
    fn generate() -> Result<Self, Fatal> {
        let mut bytes = [0_u8; TOKEN_BYTES];
        getrandom::fill(&mut bytes)
            .map_err(|error| Fatal::new(exit_code::OS, format!("the system gives no random numbers: {error}")))?;
        Ok(Self(bytes.iter().map(|byte| format!("{byte:02x}")).collect()))
    }

    /// From the text of a file.
    fn parse(text: &str) -> Option<Self> {
        let text = text.strip_suffix('\n').unwrap_or(text);
        let is_digit = |byte: u8| byte.is_ascii_digit() || matches!(byte, b'a'..=b'f');
        (text.len() == 2 * TOKEN_BYTES && text.bytes().all(is_digit)).then(|| Self(text.to_owned()))
    }

    /// What the gate compares with.
    pub fn hash(&self) -> TokenHash {
        TokenHash::of(&self.0)
    }

    /// The secret, for the owner who asks for it.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    fn file_text(&self) -> String {
        format!("{}\n", self.0)
    }

    fn header_text(&self) -> String {
        format!("Authorization: Bearer {}\n", self.0)
    }
}

/// The token of a state directory, which is made if there is none yet. The caller holds the directory's lock. `tell`
/// learns which token the file holds, before the header file is looked at and also when that fails.
///
/// # Errors
/// Fatal: a file is not as it must be, or cannot be made.
pub fn load_or_make(directory: &Path, tell: impl FnOnce(TokenHash)) -> Result<MachineToken, Fatal> {
    let token = match load(directory)? {
        Some(token) => {
            tell(token.hash());
            token
        }
        None => {
            let token = MachineToken::generate()?;
            put_and_tell(directory, TOKEN_NAME, &token.file_text(), || tell(token.hash()))?;
            token
        }
    };
    // It follows from the other, whoever changed or removed it, and whenever the daemon died.
    if read_own(directory, HEADER_NAME, READ_BYTES_MAX)?.as_deref() != Some(token.header_text().as_str()) {
        put(directory, HEADER_NAME, &token.header_text())?;
    }
    Ok(token)
}

/// The token of a state directory, if it has one.
///
/// # Errors
/// Fatal: the file is not as it must be.
pub fn load(directory: &Path) -> Result<Option<MachineToken>, Fatal> {
    let Some(text) = read_own(directory, TOKEN_NAME, READ_BYTES_MAX)? else { return Ok(None) };
    let token = MachineToken::parse(&text).ok_or_else(|| {
        let show = directory.join(TOKEN_NAME);
        let message = format!(
            "{} holds no token, which has 64 hexadecimal digits in lower case; run 'marshal token rotate' for a new one",
            show.display()
        );
        Fatal::new(exit_code::CONFIG, message)
    });
    token.map(Some)
}

/// Puts a new token in the place of the old one. The caller holds the directory's lock. `tell` learns which token the
/// file holds, before the header file is written and also when the rotation fails.
///
/// # Errors
/// Fatal: a file is not as it must be, or cannot be made. The message says whether the new token counts.
pub fn rotate(directory: &Path, tell: impl FnOnce(TokenHash)) -> Result<(), Fatal> {
    // What is there is looked at first, so that nothing that is not ours is replaced; what it says does not matter.
    read_own(directory, TOKEN_NAME, READ_BYTES_MAX)?;
    read_own(directory, HEADER_NAME, READ_BYTES_MAX)?;
    let token = MachineToken::generate()?;
    let mut is_new = false;
    let placed = put_and_tell(directory, TOKEN_NAME, &token.file_text(), || {
        is_new = true;
        tell(token.hash());
    });
    let rotated = placed.and_then(|()| put(directory, HEADER_NAME, &token.header_text()));
    rotated.map_err(|error| match is_new {
        true => Fatal::new(
            error.code,
            format!("{}; the new token counts already; 'marshal token rotate' makes another", error.message),
        ),
        false => error,
    })
}

/// What is told of the outcome of a rotation; it must not wait for anything.
pub type RotateJob = Box<dyn FnOnce(Result<(), Fatal>) + Send>;

/// Starts the thread that rotates the token when it is asked to, since writing a file takes time that nobody else has.
/// Whoever compares tokens is told by `tell`, and only then the one who asked. It ends with those who can ask.
///
/// # Errors
/// The operating system's reason for which no thread could be had.
pub fn start_keeper(
    directory: PathBuf,
    jobs: Receiver<RotateJob>,
    tell: impl Fn(TokenHash) + Send + 'static,
    exits: &Sender<Exit>,
) -> io::Result<JoinHandle<()>> {
    thread::spawn("token", exits, move || {
        for reply in jobs {
            let rotated = rotate(&directory, &tell);
            match &rotated {
                Ok(()) => log::info!("the machine's token is a new one; the old one is not taken any more"),
                Err(error) => log::error!("the machine's token was not rotated as a whole: {error}"),
            }
            reply(rotated);
        }
    })
}

/// The text of a file that must be ours alone, or of so many bytes from its beginning; none if it is not there.
///
/// # Errors
/// Fatal: it is a link or no file, somebody else's, open to others, or cannot be read.
pub fn read_own(directory: &Path, name: &str, bytes_max: u64) -> Result<Option<String>, Fatal> {
    let path = directory.join(name);
    let show = path.display();
    // A FIFO or a device would otherwise keep us waiting.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match rustix::fs::open(&path, flags, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(Errno::NOENT) => return Ok(None),
        Err(Errno::LOOP) => {
            let message = format!("{show} is a symbolic link, which is not followed; remove it");
            return Err(Fatal::new(exit_code::CANNOT_CREATE, message));
        }
        Err(error) => {
            let code = if error == Errno::ACCESS { exit_code::PERMISSION } else { exit_code::IO };
            return Err(Fatal::new(code, format!("cannot open {show}: {error}")));
        }
    };
    let cannot_read = |error: io::Error| Fatal::new(exit_code::IO, format!("cannot read {show}: {error}"));
    let found = file.metadata().map_err(cannot_read)?;
    if !found.is_file() {
        let message = format!("{show} is not a regular file; move it away");
        return Err(Fatal::new(exit_code::CANNOT_CREATE, message));
    }
    if found.uid() != rustix::process::geteuid().as_raw() {
        let message = format!("{show} belongs to another user (uid {}); remove it", found.uid());
        return Err(Fatal::new(exit_code::PERMISSION, message));
    }
    if found.mode() & 0o077 != 0 {
        let message = format!(
            "{show} is open to other users (mode {:03o}), who may have read it; run 'chmod 600 {show}' and then 'marshal token rotate'",
            found.mode() & 0o777
        );
        return Err(Fatal::new(exit_code::PERMISSION, message));
    }
    let mut bytes = Vec::new();
    file.take(bytes_max).read_to_end(&mut bytes).map_err(cannot_read)?;
    // What is not text is no token.
    Ok(Some(std::str::from_utf8(bom::without(&bytes)).unwrap_or_default().to_owned()))
}

/// Puts a file in its place, whole or not at all, readable by its owner alone from the first byte.
fn put(directory: &Path, name: &str, text: &str) -> Result<(), Fatal> {
    put_and_tell(directory, name, text, || {})
}

/// Calls `placed` as soon as the file has its name. The steps that follow can still fail, and the file stays.
fn put_and_tell(directory: &Path, name: &str, text: &str, placed: impl FnOnce()) -> Result<(), Fatal> {
    try_to_put(directory, name, text, placed).map_err(|error| {
        let message = format!("cannot write {}: {}", directory.join(name).display(), explain_in(directory, &error));
        Fatal::new(exit_code::CANNOT_CREATE, message)
    })
}

fn try_to_put(directory: &Path, name: &str, text: &str, placed: impl FnOnce()) -> io::Result<()> {
    let new = directory.join(NEW_NAME);
    match std::fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut file = File::from(rustix::fs::open(&new, flags, Mode::RUSR | Mode::WUSR)?);
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&new, directory.join(name))?;
    placed();
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn text(directory: &Path, name: &str) -> String {
        std::fs::read_to_string(directory.join(name)).unwrap()
    }

    fn chmod(path: &Path, mode: u32) {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn it_is_made_once_and_its_header_follows_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        assert_eq!(load(path).unwrap(), None);
        let token = load_or_make(path, |_| {}).unwrap();
        assert_eq!((token.reveal().len(), text(path, TOKEN_NAME)), (64, format!("{}\n", token.reveal())));
        assert_eq!(text(path, HEADER_NAME), format!("Authorization: Bearer {}\n", token.reveal()));
        for name in [TOKEN_NAME, HEADER_NAME] {
            assert_eq!(std::fs::metadata(path.join(name)).unwrap().mode() & 0o777, 0o600, "{name}");
        }
        assert!(!path.join(NEW_NAME).exists());
        assert_eq!(load_or_make(path, |_| {}).unwrap(), token);
        // row 32: an editor that writes a byte order mark.
        std::fs::write(path.join(TOKEN_NAME), format!("\u{feff}{}\n", token.reveal())).unwrap();
        assert_eq!(load(path).unwrap().unwrap(), token);
        // A daemon that died between the two files, or somebody's editor.
        std::fs::write(path.join(HEADER_NAME), "Authorization: Bearer old\n").unwrap();
        std::fs::write(path.join(NEW_NAME), "half").unwrap();
        assert_eq!(
            (load_or_make(path, |_| {}).unwrap(), text(path, HEADER_NAME)),
            (token.clone(), token.header_text())
        );
        rotate(path, |_| {}).unwrap();
        let other = load(path).unwrap().unwrap();
        assert_ne!(other, token);
        assert_eq!((load(path).unwrap().unwrap(), text(path, HEADER_NAME)), (other.clone(), other.header_text()));
        assert_eq!(format!("{other:?}"), "MachineToken");
    }

    #[test]
    fn links_other_kinds_of_files_and_files_that_others_can_read_are_refused_and_left_alone() {
        let (directory, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let target = elsewhere.path().join("target");
        std::fs::write(&target, "precious\n").unwrap();
        for name in [TOKEN_NAME, HEADER_NAME] {
            let path = directory.path().join(name);
            load_or_make(directory.path(), |_| {}).unwrap();
            chmod(&path, 0o640);
            let refused = load_or_make(directory.path(), |_| {}).unwrap_err();
            assert_eq!(refused.code, exit_code::PERMISSION, "{refused}");
            assert!(refused.message.contains("chmod 600") && rotate(directory.path(), |_| {}).is_err(), "{refused}");
            std::fs::remove_file(&path).unwrap();
            symlink(&target, &path).unwrap();
            let refused = load_or_make(directory.path(), |_| {}).unwrap_err();
            assert_eq!(refused.code, exit_code::CANNOT_CREATE, "{refused}");
            assert!(
                refused.message.contains("symbolic link") && rotate(directory.path(), |_| {}).is_err(),
                "{refused}"
            );
            std::fs::remove_file(&path).unwrap();
            std::fs::create_dir(&path).unwrap();
            assert!(load_or_make(directory.path(), |_| {}).unwrap_err().message.contains("not a regular file"));
            std::fs::remove_dir(&path).unwrap();
        }
        assert_eq!(text(elsewhere.path(), "target"), "precious\n");
        symlink(&target, directory.path().join(NEW_NAME)).unwrap();
        load_or_make(directory.path(), |_| {}).unwrap();
        assert_eq!(
            text(elsewhere.path(), "target"),
            "precious\n",
            "a link in the place of the new file is not followed"
        );
    }

    #[test]
    fn what_is_no_token_is_named_and_never_repeated() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(TOKEN_NAME);
        let good = "0123456789abcdef".repeat(4);
        for bad in ["", "\n", &good[1..], &good.to_uppercase(), &format!("{good}0"), &format!("{good}\n\n"), "\u{e9}"] {
            std::fs::write(&path, bad).unwrap();
            chmod(&path, 0o600);
            let refused = load(directory.path()).unwrap_err();
            assert_eq!(refused.code, exit_code::CONFIG);
            assert!(bad.trim().is_empty() || !refused.message.contains(bad.trim()), "{refused}");
        }
        for text in [good.clone(), format!("{good}\n")] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(load(directory.path()).unwrap().unwrap().reveal(), good);
        }
        std::fs::write(&path, "spoilt").unwrap();
        rotate(directory.path(), |_| {}).unwrap();
        load(directory.path()).unwrap().unwrap();
    }

    #[test]
    fn the_gate_follows_the_token_file_when_the_header_file_fails() {
        // row 89
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        let old = load_or_make(path, |_| {}).unwrap();
        let mut told = None;
        let failed = rotate(path, |hash| {
            assert_eq!(load(path).unwrap().unwrap().hash(), hash, "the file holds what the gate is told");
            std::fs::remove_file(path.join(HEADER_NAME)).unwrap();
            std::fs::create_dir(path.join(HEADER_NAME)).unwrap();
            told = Some(hash);
        });
        let failed = failed.unwrap_err().message;
        assert!(failed.contains(HEADER_NAME) && failed.contains("the new token counts already"), "{failed}");
        let new = load(path).unwrap().unwrap();
        assert_eq!((told, new == old), (Some(new.hash()), false));

        // A rotation that fails before the token file changed tells nothing: the old token counts.
        std::fs::remove_dir(path.join(HEADER_NAME)).unwrap();
        std::fs::remove_file(path.join(NEW_NAME)).unwrap();
        std::fs::create_dir(path.join(NEW_NAME)).unwrap();
        let failed = rotate(path, |_| panic!("told")).unwrap_err().message;
        assert!(!failed.contains("counts already"), "{failed}");
        assert_eq!(load(path).unwrap().unwrap(), new);

        // A token that is made where there is none, as when somebody removed it.
        std::fs::remove_dir(path.join(NEW_NAME)).unwrap();
        std::fs::remove_file(path.join(TOKEN_NAME)).unwrap();
        std::fs::create_dir(path.join(HEADER_NAME)).unwrap();
        let mut told = None;
        load_or_make(path, |hash| told = Some(hash)).unwrap_err();
        assert_eq!(told, Some(load(path).unwrap().unwrap().hash()));
    }

    #[test]
    fn the_keeper_tells_who_compares_before_who_asked() {
        let directory = tempfile::tempdir().unwrap();
        let (exits, (jobs, to_do), (news, heard)) =
            (crossbeam_channel::bounded(1).0, crossbeam_channel::bounded(1), crossbeam_channel::bounded(2));
        let tell = {
            let news = news.clone();
            move |hash: TokenHash| news.send(hash.to_hex()).unwrap()
        };
        let keeper = start_keeper(directory.path().to_owned(), to_do, tell, &exits).unwrap();
        jobs.send(Box::new(move |result| news.send(format!("{result:?}")).unwrap())).unwrap();
        let hash = heard.recv().unwrap();
        assert_eq!(heard.recv().unwrap(), "Ok(())");
        assert_eq!(load(directory.path()).unwrap().unwrap().hash().to_hex(), hash);
        drop(jobs);
        keeper.join().unwrap();
    }
}
