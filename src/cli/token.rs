//! `marshal token ...`: the machine's token shown to its owner, and changed. The token is printed by `show` alone, to
//! stdout; nothing else here may repeat it.

use super::commands::Caller;
use super::http_client::{Client, Failure};
use super::logs::{show_path, take_lock};
use super::{Problem, World};
use crate::error::exit_code;
use crate::machine_token::{self, HEADER_NAME, TOKEN_NAME};
use std::path::Path;

/// `marshal token show|rotate`
pub(crate) fn token(caller: &Caller<'_>, world: &mut World<'_>) -> Result<(), Problem> {
    match caller.parsed.operands.first().and_then(|word| word.to_str()).unwrap_or_default() {
        "show" => show(caller.state_dir, world),
        "rotate" => rotate(caller, world),
        other => Err(caller.parsed.usage(format!("'{other}' is none of show, rotate")).into()),
    }
}

fn show(state_dir: &Path, world: &mut World<'_>) -> Result<(), Problem> {
    let Some(token) = machine_token::load(state_dir)? else {
        let message = format!("there is no token in {}; 'marshal serve' makes one", show_path(state_dir));
        return Err(Problem::new(exit_code::REFUSED, message));
    };
    world.print(&format!("{}\n", token.reveal()))
}

/// By the daemon, or here if none runs.
fn rotate(caller: &Caller<'_>, world: &mut World<'_>) -> Result<(), Problem> {
    match Client::new(caller.socket).post("/v1/token/rotate", "{}") {
        Err(Failure::NoSocket | Failure::NotListening) => {
            let lock = take_lock(caller.state_dir, "try again when it has started or ended")?;
            machine_token::rotate(caller.state_dir, |_| {})?;
            drop(lock);
        }
        answer => drop(caller.checked(answer, true)?),
    }
    let (token, header) = (caller.state_dir.join(TOKEN_NAME), caller.state_dir.join(HEADER_NAME));
    world.print(&format!("a new token is in {} and {}\n", show_path(&token), show_path(&header)))
}
