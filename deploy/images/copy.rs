//! Copies a file: `copy FROM TO`. The image of the module has nothing else that could.

use std::env::args_os;
use std::process::ExitCode;

fn main() -> ExitCode {
    let paths: Vec<_> = args_os().skip(1).collect();
    let [from, to] = &paths[..] else {
        eprintln!("usage: copy FROM TO");
        return ExitCode::FAILURE;
    };
    match std::fs::copy(from, to) {
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("copying {} to {}: {error}", from.display(), to.display());
            ExitCode::FAILURE
        }
    }
}
