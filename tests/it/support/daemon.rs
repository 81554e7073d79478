//! The program as a process.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};

use super::PATIENCE;

/// The program with these arguments, without any setting of the surrounding environment.
pub(crate) fn inboxd(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_inboxd"));
    command.args(arguments).stdin(Stdio::null());
    for name in ["INBOXD_CONFIG", "STATE_DIRECTORY", "CREDENTIALS_DIRECTORY", "NOTIFY_SOCKET", "WATCHDOG_USEC"] {
        command.env_remove(name);
    }
    command
}

/// What a finished command left behind.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs a command in `folder` to its end.
pub(crate) fn inboxd_in(folder: &Path, arguments: &[&str]) -> Output {
    finished(inboxd(arguments).current_dir(folder))
}

pub(crate) fn finished(command: &mut Command) -> Output {
    let output = command.output().expect("the program starts");
    Output {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8(output.stdout).expect("output is UTF-8"),
        stderr: String::from_utf8(output.stderr).expect("output is UTF-8"),
    }
}

/// A running daemon; killed when dropped.
pub(crate) struct Daemon {
    child: Child,
    folder: PathBuf,
}

impl Daemon {
    /// Starts `inboxd run` in `folder`; standard output and error are appended to files there.
    pub(crate) fn start(folder: &Path, arguments: &[&str]) -> Self {
        Self::start_with(folder, arguments, |_| {})
    }

    pub(crate) fn start_with(folder: &Path, arguments: &[&str], change: impl FnOnce(&mut Command)) -> Self {
        let open = |name: &str| File::options().append(true).create(true).open(folder.join(name)).unwrap();
        let mut command = inboxd(&["run"]);
        command.args(arguments).current_dir(folder).stdout(open("stdout.log")).stderr(open("stderr.log"));
        change(&mut command);
        Self { child: command.spawn().expect("the program starts"), folder: folder.to_owned() }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, signal).expect("the daemon runs");
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for the end and returns the exit status.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "the daemon did not end; its log:\n{}", self.log());
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }

    /// Whether it hears SIGTERM: before that, it would die of it.
    fn hears(&self) -> bool {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
        let caught = caught.and_then(|caught| u64::from_str_radix(caught.trim(), 16).ok()).unwrap_or_default();
        caught & (1 << (Signal::TERM.as_raw() - 1)) != 0
    }

    /// Ends it in order and returns the exit code.
    pub(crate) fn stop(mut self) -> i32 {
        let deadline = Instant::now() + PATIENCE;
        while !self.hears() && !self.has_ended() && Instant::now() < deadline {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        self.signal(Signal::TERM);
        self.wait().code().unwrap_or(-1)
    }

    /// Ends it as a power cut would.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("stderr.log")).unwrap()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            // The test has failed or no longer cares.
            drop(self.child.kill());
            drop(self.child.wait());
        }
    }
}
