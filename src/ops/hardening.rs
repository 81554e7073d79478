//! What a process of ours gives away on its machine: nothing that it need not. Called before
//! anything else, by every command: all of them read credentials.

use rustix::fs::Mode;
use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit, umask};
use rustix::thread::{CapabilitySet, remove_capability_from_bounding_set};

/// Makes what is created its owner's alone, leaves no core dumps, and keeps the environment and the memory from every
/// program but those of root; also from a program that an `exec` sink starts as root. What the system refuses is
/// done without, as in a container that allows less.
pub fn harden() {
    umask(Mode::from_raw_mode(0o077));
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    // Of the bounding set, which is for the programs that are started: root's would read us all the same. The latter two
    // read the memory of others since Linux 6.14.
    for capability in [CapabilitySet::SYS_PTRACE, CapabilitySet::PERFMON, CapabilitySet::SYS_ADMIN] {
        let _ = remove_capability_from_bounding_set(capability);
    }
}
