//! Tools that are run to their end, such as pip, Maven and Go.

use std::io::ErrorKind;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, anyhow, bail};

/// Runs a tool to its end, without input: a tool that asks a question has to fail instead of
/// waiting for an answer.
///
/// # Errors
/// Fails if the tool fails, with its output, or if it is not installed, with `missing`.
pub fn run_tool(command: &mut Command, missing: &str) -> Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    match command.stdin(Stdio::null()).output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => bail!(
            "{program} ended with {}:\n{}{}",
            output.status,
            // Maven reports its errors on stdout, pip and Go on stderr.
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        ),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            Err(anyhow!("`{program}` is not installed; {missing}"))
        }
        Err(error) => Err(error).with_context(|| format!("starting {program}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_carries_the_output_and_a_missing_tool_the_advice() {
        let mut failing = Command::new("sh");
        failing.args(["-c", "echo to stdout; echo to stderr >&2; exit 3"]);
        let error = run_tool(&mut failing, "").unwrap_err().to_string();
        assert!(
            error.starts_with("sh ended with exit status: 3:\nto stdout\nto stderr"),
            "{error}"
        );

        let missing = &mut Command::new("throughline-no-such-tool");
        let error = run_tool(missing, "install it").unwrap_err().to_string();
        assert_eq!(
            error,
            "`throughline-no-such-tool` is not installed; install it"
        );
    }
}
