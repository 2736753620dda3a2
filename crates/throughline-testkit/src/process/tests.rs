//! Supervision, tried on small shell scripts.

use super::*;

const SOON: Duration = Duration::from_secs(20);

fn shell(name: &str, script: &str) -> ChildProcess {
    ProcessSpec::new(name, "/bin/sh")
        .args(["-c", script])
        .spawn()
        .unwrap()
}

/// Whether a process with this id exists and is not a zombie (proc(5), `stat`).
#[cfg(target_os = "linux")]
fn is_alive(id: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{id}/stat")).is_ok_and(|stat| {
        stat.rsplit(')')
            .next()
            .is_some_and(|rest| !rest.trim_start().starts_with('Z'))
    })
}

#[test]
fn the_readiness_line_gives_what_the_caller_reads_from_it() {
    let process = shell(
        "server",
        "echo starting; echo listening on 4711; exec sleep 60",
    );
    let port = process.wait_for_line("its port", SOON, |line| {
        line.strip_prefix("listening on ")?.parse::<u16>().ok()
    });
    assert_eq!(port.unwrap(), 4711);
}

#[test]
fn a_readiness_line_on_stderr_does_not_count() {
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
        "the log must be shown: {message}"
    );
}

#[test]
fn a_process_that_ends_before_it_is_ready_is_told_with_its_last_lines() {
    let process = shell("server", "echo cannot bind >&2; exit 64");
    let waited = process.wait_for_line("ready", SOON, |line| (line == "ready").then_some(()));
    let message = waited.unwrap_err().to_string();
    assert!(
        message.contains("server ended by itself (exit status: 64)"),
        "{message}"
    );
    assert!(message.contains("cannot bind"), "{message}");
}

#[test]
fn a_process_that_is_ready_and_ends_at_once_was_ready() {
    let process = shell("one-shot", "echo ready");
    assert!(
        process
            .wait_for_line("ready", SOON, |line| (line == "ready").then_some(()))
            .is_ok()
    );
}

#[test]
fn a_program_that_does_not_exist_is_named() {
    let error = ProcessSpec::new("ghost", "/nowhere/ghost")
        .spawn()
        .unwrap_err();
    assert!(
        format!("{error:#}").starts_with("ghost could not be started from /nowhere/ghost"),
        "{error:#}"
    );
}

#[test]
fn stopping_asks_first_and_lets_the_process_finish() {
    let process = shell(
        "polite",
        "trap 'echo flushed; exit 0' TERM; echo ready; while :; do sleep 0.05; done",
    );
    process
        .wait_for_line("ready", SOON, |line| (line == "ready").then_some(()))
        .unwrap();
    assert!(process.stop(SOON).unwrap().success());
    assert_eq!(process.log(), ["ready", "flushed"]);
}

#[test]
fn a_process_deaf_to_sigterm_is_killed_and_told() {
    let process = shell(
        "deaf",
        "trap '' TERM; echo ready; while :; do sleep 0.05; done",
    );
    process
        .wait_for_line("ready", SOON, |line| (line == "ready").then_some(()))
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
fn a_crash_names_the_process_and_shows_its_last_lines() {
    let process = shell("billing", "echo about to fail; kill -9 $$");
    let crash = wait::until(SOON, || process.crashed()).unwrap();
    let message = crash.to_string();
    assert!(
        message.starts_with("billing ended by itself (signal: 9 (SIGKILL))"),
        "{message}"
    );
    assert!(message.ends_with("    about to fail"), "{message}");
}

#[test]
fn an_inherited_variable_is_forgotten_and_one_that_is_set_is_not() {
    let script = "echo \"${CARGO_MANIFEST_DIR-forgotten} $CARGO_SET_HERE\"";
    let spec = ProcessSpec::new("eshop", "/bin/sh")
        .args(["-c", script])
        .forget_env("CARGO_")
        .env("CARGO_SET_HERE", "kept");
    let process = spec.spawn().unwrap();
    process.wait(SOON).unwrap();
    assert_eq!(process.log(), ["forgotten kept"]);
}

#[test]
fn only_the_last_lines_are_kept() {
    let process = shell(
        "chatty",
        "i=0; while [ $i -lt 1500 ]; do echo line $i; i=$((i+1)); done",
    );
    process.wait(SOON).unwrap();
    let log = process.log();
    assert_eq!(
        (log.len(), log[0].as_str(), log[999].as_str()),
        (1000, "line 500", "line 1499")
    );
}

#[test]
fn an_endless_line_is_cut_and_not_collected() {
    let process = shell("endless", "head -c 100000 /dev/zero | tr '\\0' x");
    process.wait(SOON).unwrap();
    let longest = process.log().iter().map(String::len).max().unwrap();
    assert_eq!(longest, 16 * 1024);
}

#[cfg(target_os = "linux")]
#[test]
fn a_dropped_process_is_gone() {
    let process = shell("dropped", "exec sleep 60");
    let id = process.id();
    assert!(is_alive(id));
    drop(process);
    assert!(!is_alive(id));
}

#[cfg(target_os = "linux")]
#[test]
fn a_process_outlives_the_thread_that_asked_for_it() {
    let process = std::thread::spawn(|| shell("child", "exec sleep 60"))
        .join()
        .unwrap();
    let ended = wait::until(Duration::from_millis(300), || process.status());
    assert_eq!(
        ended, None,
        "a child must be tied to our process, not to one of its threads"
    );
}

/// Started again by the test below as the parent that gets killed; does nothing in an ordinary run.
#[cfg(target_os = "linux")]
#[test]
fn parent_of_an_orphan() {
    if std::env::var_os("TESTKIT_PARENT_OF_AN_ORPHAN").is_some() {
        let child = shell("grandchild", "exec sleep 60");
        println!("grandchild {}", child.id());
        child.wait(Duration::from_secs(60)).unwrap();
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_child_dies_with_a_parent_that_is_killed() {
    let parent = ProcessSpec::new("parent", std::env::current_exe().unwrap())
        .args([
            "--exact",
            "--nocapture",
            "process::tests::parent_of_an_orphan",
        ])
        .env("TESTKIT_PARENT_OF_AN_ORPHAN", "1")
        .spawn()
        .unwrap();
    // The test runner may have written the test's name on the same line.
    let number = |line: &str| line.split_once("grandchild ")?.1.trim().parse::<u32>().ok();
    let grandchild = parent
        .wait_for_line("the grandchild's id", SOON, number)
        .unwrap();
    assert!(is_alive(grandchild));
    parent.kill();
    assert!(
        wait::until(SOON, || (!is_alive(grandchild)).then_some(())).is_some(),
        "the grandchild lives on"
    );
}
