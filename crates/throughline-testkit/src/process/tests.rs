//! Tests of process supervision with small shell scripts.

use super::*;

const TIMEOUT: Duration = Duration::from_secs(20);

fn shell(name: &str, script: &str) -> ChildProcess {
    ProcessSpec::new(name, "/bin/sh")
        .args(["-c", script])
        .spawn()
        .unwrap()
}

/// Returns whether a process with this id exists and is not a zombie (proc(5), `stat`).
#[cfg(target_os = "linux")]
fn is_alive(id: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{id}/stat")).is_ok_and(|stat| {
        stat.rsplit(')')
            .next()
            .is_some_and(|rest| !rest.trim_start().starts_with('Z'))
    })
}

#[test]
fn wait_for_line_returns_the_parsed_value() {
    let process = shell(
        "server",
        "echo starting; echo listening on 4711; exec sleep 60",
    );
    let port = process.wait_for_line("its port", TIMEOUT, |line| {
        line.strip_prefix("listening on ")?.parse::<u16>().ok()
    });
    assert_eq!(port.unwrap(), 4711);
}

#[test]
fn readiness_line_on_stderr_is_ignored() {
    let process = shell("server", "echo ready >&2; exec sleep 60");
    let waited = process.wait_for_line("ready", Duration::from_millis(200), |line| {
        (line == "ready").then_some(())
    });
    let message = waited.unwrap_err().to_string();
    assert!(
        message.contains("server did not write ready within 200ms"),
        "{message}"
    );
    assert!(
        message.contains("    ready"),
        "the error does not show the log: {message}"
    );
}

#[test]
fn exit_before_readiness_is_an_error_with_the_last_lines() {
    let process = shell("server", "echo cannot bind >&2; exit 64");
    let waited = process.wait_for_line("ready", TIMEOUT, |line| (line == "ready").then_some(()));
    let message = waited.unwrap_err().to_string();
    assert!(
        message.contains("server ended by itself (exit status: 64)"),
        "{message}"
    );
    assert!(message.contains("cannot bind"), "{message}");
}

#[test]
fn readiness_line_counts_even_if_the_process_exits() {
    let process = shell("one-shot", "echo ready");
    assert!(
        process
            .wait_for_line("ready", TIMEOUT, |line| (line == "ready").then_some(()))
            .is_ok()
    );
}

#[test]
fn missing_program_is_named_in_the_error() {
    let error = ProcessSpec::new("ghost", "/nowhere/ghost")
        .spawn()
        .unwrap_err();
    assert!(
        format!("{error:#}").starts_with("ghost could not be started from /nowhere/ghost"),
        "{error:#}"
    );
}

#[test]
fn stop_sends_sigterm_and_waits() {
    let process = shell(
        "polite",
        "trap 'echo flushed; exit 0' TERM; echo ready; while :; do sleep 0.05; done",
    );
    process
        .wait_for_line("ready", TIMEOUT, |line| (line == "ready").then_some(()))
        .unwrap();
    assert!(process.stop(TIMEOUT).unwrap().success());
    assert_eq!(process.log(), ["ready", "flushed"]);
}

#[test]
fn process_that_ignores_sigterm_is_killed_with_an_error() {
    let process = shell(
        "deaf",
        "trap '' TERM; echo ready; while :; do sleep 0.05; done",
    );
    process
        .wait_for_line("ready", TIMEOUT, |line| (line == "ready").then_some(()))
        .unwrap();
    let message = process
        .stop(Duration::from_millis(200))
        .unwrap_err()
        .to_string();
    assert!(
        message.contains("deaf did not end within 200ms of SIGTERM and was killed"),
        "{message}"
    );
    assert!(process.status().is_some());
}

#[test]
fn crash_shows_name_and_last_lines() {
    let process = shell("billing", "echo about to fail; kill -9 $$");
    let crash = wait::until(TIMEOUT, || process.crashed()).unwrap();
    let message = crash.to_string();
    assert!(
        message.starts_with("billing ended by itself (signal: 9 (SIGKILL))"),
        "{message}"
    );
    assert!(message.ends_with("    about to fail"), "{message}");
}

#[test]
fn clear_env_removes_inherited_variables_only() {
    let script = "echo \"${CARGO_MANIFEST_DIR-unset} $CARGO_SET_HERE\"";
    let spec = ProcessSpec::new("eshop", "/bin/sh")
        .args(["-c", script])
        .clear_env("CARGO_")
        .env("CARGO_SET_HERE", "kept");
    let process = spec.spawn().unwrap();
    process.wait(TIMEOUT).unwrap();
    assert_eq!(process.log(), ["unset kept"]);
}

#[test]
fn log_keeps_the_last_thousand_lines() {
    let process = shell(
        "chatty",
        "i=0; while [ $i -lt 1500 ]; do echo line $i; i=$((i+1)); done",
    );
    process.wait(TIMEOUT).unwrap();
    let log = process.log();
    assert_eq!(
        (log.len(), log[0].as_str(), log[999].as_str()),
        (1000, "line 500", "line 1499")
    );
}

#[test]
fn endless_line_is_split() {
    let process = shell("endless", "head -c 100000 /dev/zero | tr '\\0' x");
    process.wait(TIMEOUT).unwrap();
    let longest = process.log().iter().map(String::len).max().unwrap();
    assert_eq!(longest, 16 * 1024);
}

#[cfg(target_os = "linux")]
#[test]
fn drop_kills_the_process() {
    let process = shell("dropped", "exec sleep 60");
    let id = process.id();
    assert!(is_alive(id));
    drop(process);
    assert!(!is_alive(id));
}

#[cfg(target_os = "linux")]
#[test]
fn process_outlives_the_thread_that_started_it() {
    let process = std::thread::spawn(|| shell("child", "exec sleep 60"))
        .join()
        .unwrap();
    let ended = wait::until(Duration::from_millis(300), || process.status());
    assert_eq!(
        ended, None,
        "the child ended with the thread that started it"
    );
}

/// Runs as the parent process of the test below; does nothing in an ordinary run.
#[cfg(target_os = "linux")]
#[test]
fn parent_for_the_kill_test() {
    if std::env::var_os("TESTKIT_PARENT_FOR_KILL_TEST").is_some() {
        let child = shell("grandchild", "exec sleep 60");
        println!("grandchild {}", child.id());
        child.wait(Duration::from_secs(60)).unwrap();
    }
}

#[cfg(target_os = "linux")]
#[test]
fn child_dies_with_a_killed_parent() {
    let parent = ProcessSpec::new("parent", std::env::current_exe().unwrap())
        .args([
            "--exact",
            "--nocapture",
            "process::tests::parent_for_the_kill_test",
        ])
        .env("TESTKIT_PARENT_FOR_KILL_TEST", "1")
        .spawn()
        .unwrap();
    // The test runner may have written the test's name on the same line.
    let number = |line: &str| line.split_once("grandchild ")?.1.trim().parse::<u32>().ok();
    let grandchild = parent
        .wait_for_line("the grandchild's id", TIMEOUT, number)
        .unwrap();
    assert!(is_alive(grandchild));
    parent.kill();
    assert!(
        wait::until(TIMEOUT, || (!is_alive(grandchild)).then_some(())).is_some(),
        "the grandchild outlived its parent"
    );
}
