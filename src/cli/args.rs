//! From the arguments to a command with its options and operands, as the table says. It must not act on them, read the
//! environment or print.

use super::table::{
    COMMANDS, COMMON, CONFLICTS, Command, FLAG_MEANINGS, Flag, Id, NEEDS, VERSION, command, command_of,
};
use crate::text::near::nearest;
use std::ffi::{OsStr, OsString};

/// A command line that was understood.
#[derive(Debug)]
pub(crate) struct Parsed {
    /// The command.
    pub(crate) command: &'static Command,
    /// Whether its help was asked for.
    pub(crate) help: bool,
    /// What stood beside the options.
    pub(crate) operands: Vec<OsString>,
    /// The options given, in order; a switch has no value.
    given: Vec<(&'static str, Option<OsString>)>,
}

impl Parsed {
    /// Whether the option was given.
    pub(crate) fn has(&self, long: &str) -> bool {
        self.given.iter().any(|(name, _)| *name == long)
    }

    /// The option's value; of several the last.
    pub(crate) fn value(&self, long: &str) -> Option<&OsStr> {
        self.given.iter().rev().find(|(name, _)| *name == long)?.1.as_deref()
    }

    /// All values of an option that can be given several times, each of which must be text.
    pub(crate) fn texts(&self, long: &str) -> Result<Vec<&str>, UsageError> {
        let values = self.given.iter().filter(|(name, _)| *name == long).filter_map(|(_, value)| value.as_deref());
        let text = |value: &OsStr| value.to_str().filter(|text| !text.is_empty()).map(str::len).is_some();
        let values: Vec<&OsStr> = values.collect();
        if !values.iter().all(|value| text(value)) {
            return Err(self.usage(format!("a value of --{long} is empty, or not UTF-8")));
        }
        Ok(values.into_iter().filter_map(OsStr::to_str).collect())
    }

    /// The option's value, which must be text.
    pub(crate) fn text(&self, long: &str) -> Result<Option<&str>, UsageError> {
        let Some(value) = self.value(long) else {
            return Ok(None);
        };
        match value.to_str() {
            Some("") => Err(UsageError::of(self.command, format!("--{long} is empty"))),
            Some(text) => Ok(Some(text)),
            None => Err(UsageError::of(self.command, format!("the value of --{long} is not UTF-8"))),
        }
    }

    /// An error about the options or operands of this command line.
    pub(crate) fn usage(&self, message: impl Into<String>) -> UsageError {
        UsageError::of(self.command, message)
    }
}

/// A command line that was not understood: what is wrong, and where to read on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UsageError {
    pub(crate) message: String,
    pub(crate) see: String,
}

impl UsageError {
    fn top(message: impl Into<String>) -> Self {
        Self { message: message.into(), see: "marshal --help".to_owned() }
    }

    fn of(command: &Command, message: impl Into<String>) -> Self {
        Self { message: message.into(), see: format!("marshal {} --help", command.name) }
    }
}

/// Reads the arguments (without the program's name). No arguments at all are a command line that is not understood.
pub(crate) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Parsed, UsageError> {
    let mut parser = lexopt::Parser::from_args(args);
    let mut given = Vec::new();
    loop {
        match parser.next().map_err(|error| UsageError::top(error.to_string()))? {
            Some(lexopt::Arg::Short('V')) => return Ok(bare(command_of(Id::Version))),
            Some(lexopt::Arg::Long("version")) => return Ok(bare(command_of(Id::Version))),
            Some(lexopt::Arg::Short('h')) | Some(lexopt::Arg::Long("help")) => return Ok(bare(command_of(Id::Help))),
            Some(lexopt::Arg::Long("state-dir")) => {
                let value = parser.value().map_err(|error| UsageError::top(error.to_string()))?;
                given.push(("state-dir", Some(value)));
            }
            Some(lexopt::Arg::Value(name)) => return rest(find(&name)?, given, parser),
            Some(arg) => {
                let name = spelled(&arg);
                let near = nearest_flag(&name, COMMON.iter().chain([&VERSION]));
                let place = "options of a command come after its name";
                return Err(UsageError::top(format!("unknown option '{name}' before a command{near}; {place}")));
            }
            None => return Err(UsageError::top("which command?")),
        }
    }
}

fn bare(command: &'static Command) -> Parsed {
    Parsed { command, help: false, operands: Vec::new(), given: Vec::new() }
}

/// The command that an argument names.
pub(crate) fn find(name: &OsStr) -> Result<&'static Command, UsageError> {
    let name = name.to_string_lossy();
    command(&name).ok_or_else(|| {
        let meant = COMMANDS.iter().find(|command| command.meanings.contains(&&*name.to_lowercase()));
        let near = meant.map(|command| command.name);
        let near = near.or_else(|| nearest(&name, COMMANDS.iter().map(|command| command.name)));
        let near = near.map(|near| format!("; did you mean '{near}'?")).unwrap_or_default();
        UsageError::top(format!("unknown command '{name}'{near}"))
    })
}

fn rest(
    command: &'static Command,
    given: Vec<(&'static str, Option<OsString>)>,
    mut parser: lexopt::Parser,
) -> Result<Parsed, UsageError> {
    let mut parsed = Parsed { command, help: false, operands: Vec::new(), given };
    let wrong = |error: lexopt::Error| UsageError::of(command, error.to_string());
    while let Some(arg) = parser.next().map_err(wrong)? {
        let flag = match arg {
            lexopt::Arg::Value(operand) => {
                parsed.operands.push(operand);
                continue;
            }
            lexopt::Arg::Long(long) => command.flags().find(|flag| flag.long == long),
            lexopt::Arg::Short(short) => command.flags().find(|flag| flag.short == Some(short)),
        };
        let Some(flag) = flag else {
            return Err(unknown_flag(command, &spelled(&arg)));
        };
        let value = flag.value.map(|_| parser.value()).transpose().map_err(wrong)?;
        parsed.given.push((flag.long, value));
    }
    parsed.help = parsed.has("help");
    if !parsed.help {
        must_agree(&parsed)?;
    }
    let (least, most) = command.operand_count;
    if parsed.help || (least..=most).contains(&parsed.operands.len()) {
        return Ok(parsed);
    }
    if parsed.operands.len() < least {
        return Err(parsed.usage(format!("missing {}", command.operands)));
    }
    let extra = parsed.operands[most].to_string_lossy();
    Err(parsed.usage(format!("unexpected argument '{extra}'")))
}

/// Refuses options of which one would have to be ignored.
fn must_agree(parsed: &Parsed) -> Result<(), UsageError> {
    let of_this = |(id, ..): &&(Id, &str, &str)| *id == parsed.command.id;
    if let Some((_, one, other)) =
        CONFLICTS.iter().filter(of_this).find(|(_, one, other)| parsed.has(one) && parsed.has(other))
    {
        return Err(parsed.usage(format!("--{one} and --{other} exclude each other")));
    }
    match NEEDS.iter().filter(of_this).find(|(_, one, other)| parsed.has(one) && !parsed.has(other)) {
        Some((_, one, other)) => Err(parsed.usage(format!("--{one} is for --{other}"))),
        None => Ok(()),
    }
}

fn unknown_flag(command: &'static Command, name: &str) -> UsageError {
    let near = nearest_flag(name, command.flags());
    // Text on the command line may well begin with a dash; it is not guessed at, because a mistyped option would
    // then be sent to somebody.
    let dashes = if command.id == Id::Send { " (put '--' before a text that begins with a dash)" } else { "" };
    UsageError::of(command, format!("unknown option '{name}' for 'marshal {}'{near}{dashes}", command.name))
}

fn spelled(arg: &lexopt::Arg<'_>) -> String {
    match arg {
        lexopt::Arg::Short(short) => format!("-{short}"),
        lexopt::Arg::Long(long) => format!("--{long}"),
        lexopt::Arg::Value(value) => value.to_string_lossy().into_owned(),
    }
}

fn nearest_flag(name: &str, flags: impl Iterator<Item = &'static Flag>) -> String {
    let (typed, longs) = (name.trim_start_matches('-'), flags.map(|flag| flag.long).collect::<Vec<_>>());
    let mut meant = FLAG_MEANINGS.iter().filter(|(word, _)| *word == typed).map(|(_, long)| *long);
    let near = meant.find(|long| longs.contains(long)).or_else(|| nearest(typed, longs));
    near.map(|near| format!("; did you mean '--{near}'?")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_line(line: &str) -> Result<Parsed, UsageError> {
        parse(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn command_lines_that_are_understood() {
        type Row = (&'static str, Id, &'static [&'static str], &'static [(&'static str, Option<&'static str>)]);
        let table: &[Row] = &[
            ("ls", Id::Ls, &[], &[]),
            ("--state-dir /s ls --json", Id::Ls, &[], &[("state-dir", Some("/s")), ("json", None)]),
            ("ls --state-dir=/s", Id::Ls, &[], &[("state-dir", Some("/s"))]),
            ("send otter hello there", Id::Send, &["otter", "hello", "there"], &[]),
            ("send --as me otter -", Id::Send, &["otter", "-"], &[("as", Some("me"))]),
            ("send otter hi --json", Id::Send, &["otter", "hi"], &[("json", None)]),
            ("send otter -- --json -x", Id::Send, &["otter", "--json", "-x"], &[]),
            ("history --limit 5 --limit 7", Id::History, &[], &[("limit", Some("7"))]),
            ("-V", Id::Version, &[], &[]),
            ("--version", Id::Version, &[], &[]),
            ("-h", Id::Help, &[], &[]),
            ("help send", Id::Help, &["send"], &[]),
        ];
        for (line, id, operands, flags) in table {
            let parsed = parse_line(line).unwrap_or_else(|error| panic!("{line}: {error:?}"));
            assert_eq!(parsed.command.id, *id, "{line}");
            assert_eq!(parsed.operands, *operands, "{line}");
            for (long, value) in *flags {
                assert!(parsed.has(long), "{line}");
                assert_eq!(parsed.value(long), value.map(OsStr::new), "{line}");
            }
            assert!(!parsed.help && !parsed.has("peek"), "{line}");
        }
    }

    #[test]
    fn every_command_has_help_and_the_common_options() {
        for command in COMMANDS {
            for help in ["-h", "--help"] {
                let parsed = parse_line(&format!("{} --state-dir /s {help}", command.name)).unwrap();
                assert!(parsed.help && parsed.value("state-dir").is_some(), "{}", command.name);
            }
        }
    }

    #[test]
    fn command_lines_that_are_not_understood() {
        let table = [
            ("", "which command?", "marshal --help"),
            ("sned otter hi", "unknown command 'sned'; did you mean 'send'?", "marshal --help"),
            ("hist", "unknown command 'hist'; did you mean 'history'?", "marshal --help"),
            ("frobnicate", "unknown command 'frobnicate'", "marshal --help"),
            // row 57
            ("list", "unknown command 'list'; did you mean 'ls'?", "marshal --help"),
            ("ps", "unknown command 'ps'; did you mean 'ls'?", "marshal --help"),
            ("read", "unknown command 'read'; did you mean 'inbox'?", "marshal --help"),
            ("start", "unknown command 'start'; did you mean 'serve'?", "marshal --help"),
            ("foo", "unknown command 'foo'", "marshal --help"),
            (
                "history -n 3",
                "unknown option '-n' for 'marshal history'; did you mean '--limit'?",
                "marshal history --help",
            ),
            ("ls -f", "unknown option '-f' for 'marshal ls'; did you mean '--watch'?", "marshal ls --help"),
            (
                "history -f",
                "unknown option '-f' for 'marshal history'; did you mean '--follow'?",
                "marshal history --help",
            ),
            ("inbox --foo", "unknown option '--foo' for 'marshal inbox'", "marshal inbox --help"),
            ("ls --jsno", "unknown option '--jsno' for 'marshal ls'; did you mean '--json'?", "marshal ls --help"),
            ("ls -x", "unknown option '-x' for 'marshal ls'", "marshal ls --help"),
            ("ls otter", "unexpected argument 'otter'", "marshal ls --help"),
            ("token", "missing show|rotate", "marshal token --help"),
            (
                "send otter -x",
                "unknown option '-x' for 'marshal send' (put '--' before a text that begins with a dash)",
                "marshal send --help",
            ),
            ("inbox --limit", "missing argument for option '--limit'", "marshal inbox --help"),
            ("inbox --peek=1", "unexpected argument for option '--peek': \"1\"", "marshal inbox --help"),
            // row 5
            ("inbox --peek --claim", "--claim and --peek exclude each other", "marshal inbox --help"),
            ("inbox --ack --peek", "--ack and --peek exclude each other", "marshal inbox --help"),
            ("inbox --from web", "--from is for --claim", "marshal inbox --help"),
            ("ls --json --names", "--names and --json exclude each other", "marshal ls --help"),
            ("ls --names --wide", "--names and --wide exclude each other", "marshal ls --help"),
            ("ls --json --watch", "--watch and --json exclude each other", "marshal ls --help"),
            ("ls --names --watch", "--watch and --names exclude each other", "marshal ls --help"),
            ("history --before x --follow", "--follow and --before exclude each other", "marshal history --help"),
            ("history --follow --until 1h", "--follow and --until exclude each other", "marshal history --help"),
            ("history --follow --message m", "--follow and --message exclude each other", "marshal history --help"),
            ("send web hi --timeout 3s", "--timeout is for --wait", "marshal send --help"),
            ("ls --since 2h", "unknown option '--since' for 'marshal ls'", "marshal ls --help"),
            (
                "--json ls",
                "unknown option '--json' before a command; options of a command come after its name",
                "marshal --help",
            ),
        ];
        for (line, message, see) in table {
            let error = parse_line(line).expect_err(line);
            assert_eq!((error.message.as_str(), error.see.as_str()), (message, see), "{line}");
        }
    }

    #[test]
    fn an_empty_or_unreadable_value_is_named() {
        use std::os::unix::ffi::OsStringExt;
        let parsed = parse(["send", "--as", "", "x"].map(OsString::from)).unwrap();
        assert_eq!(parsed.text("as").unwrap_err().message, "--as is empty");
        let args = vec!["send".into(), "--from".into(), OsString::from_vec(vec![0xff]), "x".into()];
        assert_eq!(parse(args).unwrap().text("from").unwrap_err().message, "the value of --from is not UTF-8");
    }
}
