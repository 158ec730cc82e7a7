//! The binary: hands the arguments to the library and turns what comes back into an exit code.

use marshal::config::ServeConfig;
use marshal::error::{Fatal, exit_code};
use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(marshal::cli::main_with(serve))
}

fn serve(_: ServeConfig) -> Result<(), Fatal> {
    Err(Fatal::new(exit_code::SOFTWARE, "this build has no daemon yet"))
}
