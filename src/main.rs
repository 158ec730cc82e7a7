//! The binary: hands the arguments to the library and turns what comes back into an exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(marshal::cli::main_with(|config| marshal::daemon::run(&config)))
}
