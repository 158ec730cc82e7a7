//! The binary: hands the arguments to the library and turns what comes back into an exit code.

fn main() {}
