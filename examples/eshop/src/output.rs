//! Output of the program: one line on stdout, the log on stderr.

/// Prints a line for the process that started this one, the only output on stdout.
#[expect(clippy::print_stdout, reason = "the address is this program's output")]
pub(crate) fn announce(line: &str) {
    println!("{line}");
}

/// Prints a line of the log.
#[expect(clippy::print_stderr, reason = "the bare variant has no logging crate")]
pub(crate) fn log(line: &str) {
    eprintln!("{line}");
}
