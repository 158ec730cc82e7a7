//! Help, made from the table. It must not know any command by itself.

use super::table::{COMMANDS, COMMON, Command, Flag, VERSION, exit_meaning};
use crate::error::exit_code;
use std::fmt::Write;

/// The help of `marshal` itself.
pub(crate) fn overview() -> String {
    let mut text = String::from(
        "marshal keeps the roster of the coding-agent sessions on a machine and gets messages from one to another.\n\n\
         Usage: marshal [OPTIONS] COMMAND\n\nCommands:\n",
    );
    let width = COMMANDS.iter().map(|command| command.name.len()).max().unwrap_or(0);
    for command in COMMANDS {
        let _ = writeln!(text, "  {:width$}  {}", command.name, command.summary);
    }
    text.push_str("\nOptions:\n");
    options(&mut text, COMMON.iter().chain([&VERSION]));
    text.push_str("\n'marshal COMMAND --help' says more about a command.\n");
    text
}

/// The help of one command.
pub(crate) fn of(command: &Command) -> String {
    let mut text = format!("{}.\n{}\n\nUsage: marshal {} [OPTIONS]", command.summary, command.about, command.name);
    if !command.operands.is_empty() {
        let _ = write!(text, " {}", command.operands);
    }
    text.push_str("\n\nOptions:\n");
    options(&mut text, command.flags());
    text.push_str("\nExamples:\n");
    for (line, what) in command.examples {
        if what.is_empty() {
            let _ = writeln!(text, "  {line}");
        } else {
            let _ = writeln!(text, "  {line}\n      {what}");
        }
    }
    text.push_str("\nExit codes:\n");
    let mut codes = [&[exit_code::OK, exit_code::USAGE], command.exits].concat();
    codes.sort_unstable();
    for code in codes {
        let _ = writeln!(text, "  {code:>2}  {}", exit_meaning(code));
    }
    text
}

fn options<'a>(text: &mut String, flags: impl Iterator<Item = &'a Flag>) {
    let rows: Vec<_> = flags.map(|flag| (left(flag), flag.help)).collect();
    let width = rows.iter().map(|(left, _)| left.len()).max().unwrap_or(0);
    for (left, help) in rows {
        let _ = writeln!(text, "  {left:width$}  {help}");
    }
}

fn left(flag: &Flag) -> String {
    let short = flag.short.map_or_else(|| "    ".to_owned(), |short| format!("-{short}, "));
    let value = flag.value.map_or_else(String::new, |value| format!(" {}", value.name));
    format!("{short}--{}{value}", flag.long)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_overview_names_every_command() {
        let text = overview();
        for command in COMMANDS {
            assert!(text.contains(&format!("\n  {}", command.name)), "{}", command.name);
        }
        assert!(text.contains("-V, --version"));
    }

    #[test]
    fn help_of_a_command_names_usage_options_examples_and_exit_codes() {
        for command in COMMANDS {
            let text = of(command);
            assert!(text.contains(&format!("Usage: marshal {} [OPTIONS]", command.name)));
            for flag in command.flags() {
                assert!(text.contains(&format!("--{}", flag.long)), "{} --{}", command.name, flag.long);
            }
            assert!(text.contains("\nExamples:\n  ") && text.contains("\n  64  wrong command line\n"));
            assert!(text.lines().all(|line| line.chars().count() <= 120), "{}", command.name);
        }
    }

    #[test]
    fn help_looks_like_this() {
        let expected = "\
Show how the daemon is.
Its health, doors and counts. Exit code 1 if its health is not ok.

Usage: marshal status [OPTIONS]

Options:
      --json           Print the daemon's answer as JSON
      --state-dir DIR  State directory of the daemon [env: MARSHAL_STATE_DIR]
  -h, --help           Show this help

Examples:
  marshal status
      is it up, where does it listen

Exit codes:
   0  done
   1  the daemon refused, nothing fits, or something is wrong with what was looked at
  64  wrong command line
  69  the daemon does not run, or does not answer
  74  reading or writing failed
  77  a file belongs to somebody else or is open to others
  78  a setting is wrong
";
        assert_eq!(of(super::super::table::command("status").unwrap()), expected);
    }
}
