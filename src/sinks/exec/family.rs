//! A program and what it has started: found again to be ended at the time limit.
//!
//! A group of processes is what it begins as. What has left the group (a session of its own, as daemons make) is found by
//! its parents, or, once its parent is gone, by the mark that every program is given in its environment. A process that
//! has left its group, lost its parent and cleared its environment is not found.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

/// Whoever forks faster than it is killed is looked for again, so often.
const ROUNDS: usize = 8;

/// And for so long: others must not be able to keep us looking.
const LONGEST_SEARCH: Duration = Duration::from_secs(3);

/// Bytes of an environment in which the mark is looked for.
const ENVIRONMENT_LIMIT: u64 = 256 << 10;

/// The variable that has the mark.
pub(super) const MARK: &str = "INBOXD_RUN";

/// Kills a program, its group, and all of its descendants that can be found.
pub(super) fn kill(program: Pid, mark: &str) {
    // Whose parents are gone after the first blow is remembered before.
    let mut found: HashSet<i32> = HashSet::new();
    let until = Instant::now() + LONGEST_SEARCH;
    // Its processes are its user's, or root's where the system hides whose they are; others are not looked at.
    let owner = owner_of(program.as_raw_nonzero().get());
    for _ in 0..ROUNDS {
        let processes = Processes::read();
        let mut family = processes.below(program.as_raw_nonzero().get());
        family.extend(found.iter().flat_map(|member| processes.below(*member)));
        family.extend(processes.marked(mark, owner, until));
        family.remove(&program.as_raw_nonzero().get());
        let is_over = family.iter().all(|member| found.contains(member));
        found.extend(&family);
        // Refused only when there is nobody left.
        kill_process_group(program, Signal::KILL).ok();
        for member in family.iter().filter_map(|member| Pid::from_raw(*member)) {
            kill_process(member, Signal::KILL).ok();
        }
        if is_over || Instant::now() > until {
            break;
        }
    }
}

/// Who is whose child, at one moment.
struct Processes {
    children: HashMap<i32, Vec<i32>>,
    all: Vec<i32>,
}

impl Processes {
    fn read() -> Self {
        let (mut children, mut all) = (HashMap::<i32, Vec<i32>>::new(), Vec::new());
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        for pid in entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok()) {
            let Some((state, parent)) = state_and_parent(pid) else { continue };
            if state != 'Z' {
                all.push(pid);
            }
            children.entry(parent).or_default().push(pid);
        }
        Self { children, all }
    }

    /// The descendants of a process.
    fn below(&self, pid: i32) -> HashSet<i32> {
        let (mut below, mut next) = (HashSet::new(), vec![pid]);
        while let Some(parent) = next.pop() {
            for child in self.children.get(&parent).into_iter().flatten() {
                if below.insert(*child) {
                    next.push(*child);
                }
            }
        }
        below
    }

    /// Those that were given this mark.
    fn marked(&self, mark: &str, owner: Option<u32>, until: Instant) -> HashSet<i32> {
        let variable = format!("{MARK}={mark}");
        let has_it = |pid: &&i32| {
            let whose = owner_of(**pid);
            if Instant::now() > until || !(whose == owner || whose == Some(0)) {
                return false;
            }
            let mut environment = Vec::new();
            let file = fs::File::open(format!("/proc/{pid}/environ"));
            drop(file.and_then(|file| file.take(ENVIRONMENT_LIMIT).read_to_end(&mut environment)));
            environment.split(|byte| *byte == 0).any(|entry| entry == variable.as_bytes())
        };
        self.all.iter().filter(has_it).copied().collect()
    }
}

/// Whose a process is.
fn owner_of(pid: i32) -> Option<u32> {
    fs::metadata(format!("/proc/{pid}")).ok().map(|found| found.uid())
}

/// The fields of `/proc/PID/stat` behind the name, which may have anything in it.
fn state_and_parent(pid: i32) -> Option<(char, i32)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}
