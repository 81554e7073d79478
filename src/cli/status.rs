//! `inboxd status`

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;

use super::{ConfigFile, Failure};
use crate::model::{Untrusted, counted, json_line};
use crate::ops::control::{self, Request};
use crate::scheduler::Schedule;
use crate::store::{AccountOverview, ConversationOverview, FolderOverview, Overview, SinkOverview, UnreadOverview};
use crate::time::UnixMillis;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    file: ConfigFile,
    /// One JSON object with everything
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let (path, store) = arguments.file.open_store_at()?;
    // First: the daemon writes down what it has only noted.
    let schedules = schedules(&path);
    let mut overview = store.overview()?;
    match schedules {
        Ok(Some(schedules)) => schedule(&mut overview, &schedules),
        Ok(None) => {}
        Err(reason) => super::note(&format!("the next polls are shown as they were stored: {reason}")),
    }
    let text = if arguments.json {
        json_line(&overview).map_err(|e| Failure::new(super::FAILED, e.to_string()))? + "\n"
    } else {
        readable(&overview, UnixMillis::now())
    };
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(())
}

type Schedules = BTreeMap<String, Schedule>;

/// What the running daemon says of the next polls; `None` when none runs.
fn schedules(database: &Path) -> Result<Option<Schedules>, String> {
    match control::ask(database, &Request::Schedule {}) {
        Ok(None) => Ok(None),
        Ok(Some(Ok(text))) => serde_json::from_str(&text).map(Some).map_err(|e| e.to_string()),
        Ok(Some(Err(reason))) => Err(reason),
        Err(error) => Err(format!("the daemon does not answer ({error})")),
    }
}

fn schedule(overview: &mut Overview, schedules: &Schedules) {
    for account in &mut overview.accounts {
        let Some(schedule) = schedules.get(&account.name) else { continue };
        let by_id: HashMap<_, _> = schedule.conversations.iter().map(|s| (s.conversation_id.as_str(), s)).collect();
        for conversation in account.conversations.iter_mut().filter(|c| c.followed) {
            if let Some(scheduled) = by_id.get(conversation.id.as_str()) {
                conversation.due_at = scheduled.due_at;
                conversation.due_reason = Some(scheduled.reason.clone());
            }
        }
    }
}

fn readable(overview: &Overview, now: UnixMillis) -> String {
    let mut text = String::new();
    render(&mut text, overview, now).expect("writing to a string cannot fail");
    text
}

fn render(text: &mut String, overview: &Overview, now: UnixMillis) -> std::fmt::Result {
    for account in &overview.accounts {
        writeln!(text, "account {} ({}): {}", account.name, account.provider, account_state(account, now))?;
        if account.configured {
            writeln!(text, "  {}", spending(account, now))?;
        }
        for folder in &account.inbox {
            writeln!(text, "  inbox{}: {}", folder_name(folder), folder_state(folder, now))?;
        }
        if account.configured && !account.inbox_left_out.is_empty() {
            let left_out = account.inbox_left_out.join(", ");
            writeln!(text, "  inbox: there and not listed: {}", Untrusted(&left_out))?;
        }
        for conversation in account.conversations.iter().filter(|c| c.followed) {
            let name = conversation.title.as_deref().unwrap_or(&conversation.id);
            writeln!(text, "  {}", Untrusted(name))?;
            writeln!(text, "    {}", conversation_state(conversation, account.paused_until.is_some(), now))?;
        }
        let unfollowed = account.conversations.iter().filter(|c| !c.followed).count();
        if unfollowed > 0 && account.configured {
            writeln!(text, "  {unfollowed} no longer followed; what is known of them is kept")?;
        }
    }
    for sink in &overview.sinks {
        writeln!(text, "sink {}: {}", sink.name, sink_state(sink, now))?;
    }
    Ok(())
}

fn account_state(account: &AccountOverview, now: UnixMillis) -> String {
    if !account.configured {
        return "no longer in the configuration; what is known of it is kept".into();
    }
    match account.paused_until {
        Some(until) => format!(
            "PAUSED ({}) since {}: {}; next try {}",
            account.pause_class.as_deref().unwrap_or("unknown"),
            ago(account.paused_since, now),
            Untrusted(account.pause_reason.as_deref().unwrap_or_default().trim_end_matches('.')),
            ahead(until, now)
        ),
        None => {
            let followed = account.conversations.iter().filter(|c| c.followed).count();
            let failing = account.conversations.iter().filter(|c| c.followed && c.failures > 0).count();
            let failing = if failing > 0 { format!(", {failing} FAILING") } else { String::new() };
            let full = match account.full_since {
                Some(since) => format!(", FULL since {}: its inbox lists more", ago(Some(since), now)),
                None => String::new(),
            };
            counted(followed, "conversation") + &failing + &full
        }
    }
}

/// What the account has asked for and paid, beside what it may.
fn spending(account: &AccountOverview, now: UnixMillis) -> String {
    let mut parts = vec![format!("{} today", counted(account.requests_today as usize, "request"))];
    match (account.learnt_requests_per_minute, account.requests_per_minute) {
        (Some(learnt), Some(configured)) => parts
            .push(format!("at most {learnt:.0} a minute, as the provider has taught ({configured} are configured)")),
        (None, Some(configured)) => parts.push(format!("at most {configured} a minute")),
        _ => {}
    }
    if let (Some(spent), Some(limit)) = (account.credits_today, account.daily_credits) {
        let resets = ahead(account.day_ends_at, now);
        let state = if spent >= u64::from(limit) { " SPENT" } else { "" };
        parts.push(format!("{spent} of {limit} credits{state} today, anew {resets}"));
    }
    if let (Some(spent), Some(limit)) = (account.credits_this_month, account.monthly_credits) {
        let state = if spent >= u64::from(limit) { " SPENT" } else { "" };
        parts.push(format!("{spent} of {limit} credits{state} this month"));
    }
    if let Some(left) = account.credits_left {
        let state = if account.credits_low_since.is_some() { " LOW," } else { "" };
        parts.push(format!("{left} credits left at the provider,{state} {}", ago(account.credits_left_at, now)));
    }
    parts.join("; ")
}

fn folder_name(folder: &FolderOverview) -> String {
    if folder.folder.is_empty() { String::new() } else { format!(" {}", Untrusted(&folder.folder)) }
}

fn folder_state(folder: &FolderOverview, now: UnixMillis) -> String {
    let mut state = match folder.swept_at {
        Some(_) => format!("listed {}", ago(folder.swept_at, now)),
        None => "listed for the first time, not yet to its end".into(),
    };
    if let Some(class) = &folder.failure_class {
        let detail = folder.failure_detail.as_deref().unwrap_or_default();
        state += &format!(", FAILING ({class}) for {}: {}", since(folder.failing_since, now), Untrusted(detail));
    }
    if let Some(unread) = &folder.unreadable {
        state += &format!(", {}", unreadable(unread, "row"));
    }
    state
}

fn unreadable(unread: &UnreadOverview, noun: &str) -> String {
    format!("{} UNREADABLE ({})", counted(unread.items as usize, noun), Untrusted(&unread.looks))
}

fn since(moment: Option<UnixMillis>, now: UnixMillis) -> String {
    moment.map_or_else(String::new, |moment| rounded(now.since(moment)))
}

fn conversation_state(c: &ConversationOverview, paused: bool, now: UnixMillis) -> String {
    let mut parts = vec![
        format!("verified {}", ago(c.verified_until, now)),
        format!("last message {}", ago(c.last_message_at, now)),
        match &c.due_reason {
            _ if paused => "next poll after the pause".into(),
            Some(reason) => format!("next poll {} ({})", ahead(c.due_at, now), reason.replace('_', " ")),
            None => format!("next poll {}", ahead(c.due_at, now)),
        },
    ];
    if c.failures > 0 {
        let (class, detail) = (c.failure_class.as_deref().unwrap_or("unknown"), c.failure_detail.as_deref());
        parts.push(format!(
            "FAILING ({class}) {}: {}",
            counted(c.failures as usize, "time"),
            Untrusted(detail.unwrap_or_default())
        ));
    }
    if let Some(lapsed_at) = c.lapsed_at {
        parts.push(format!("NOT COLLECTED by the provider since {lapsed_at}"));
    }
    match (c.sync_state.as_deref(), c.sync_until) {
        (Some(state @ ("queued" | "starting" | "running")), _) => parts.push(format!("sync {state}")),
        (_, Some(until)) if c.lapsed_at.is_none() => parts.push(format!("collected until {until}")),
        _ => {}
    }
    if let Some(pages) = c.walk_pages {
        let messages = c.walk_messages.unwrap_or_default();
        let reached = c.walk_reached.map_or_else(String::new, |at| format!(", back to {at}"));
        parts.push(format!("reading a long history, {pages} pages with {messages} messages so far{reached}"));
    }
    if !c.gaps.is_empty() {
        parts.push(format!("{} GAPS", c.gaps.len()));
    }
    if let Some(unread) = &c.unreadable {
        parts.push(unreadable(unread, "message"));
    }
    if c.edits > 0 {
        parts.push(format!("{} edits seen", c.edits));
    }
    parts.join(", ")
}

fn sink_state(sink: &SinkOverview, now: UnixMillis) -> String {
    let mut state = match sink.parked_at {
        Some(_) => format!("PARKED {}, ", ago(sink.parked_at, now)),
        None => String::new(),
    };
    state += &format!("{} delivered, {} pending, {} dead", sink.delivered, sink.pending, sink.dead);
    if sink.filtered > 0 {
        state += &format!(", {} filtered out", sink.filtered);
    }
    if !sink.configured {
        state += ", no longer in the configuration; what it is owed is kept until: inboxd deliveries purge --sink ";
        state += &sink.name;
    }
    if sink.configured && sink.max_pending.is_some_and(|max| sink.pending > max) {
        state += ", MORE THAN max_pending: polling waits";
    }
    if sink.parked_at.is_none() && sink.failing_since.is_some() {
        state += &format!(", failing for {}", since(sink.failing_since, now));
    }
    if sink.oldest_pending_at.is_some() {
        state += &format!(", oldest pending from {}", ago(sink.oldest_pending_at, now));
    }
    if let Some(failure) = &sink.last_failure {
        state += &format!(", last failure: {}", Untrusted(failure));
    }
    state
}

fn ago(moment: Option<UnixMillis>, now: UnixMillis) -> String {
    match moment {
        None => "never".into(),
        Some(moment) if moment > now => "just now".into(),
        Some(moment) => format!("{} ago", rounded(now.since(moment))),
    }
}

fn ahead(moment: UnixMillis, now: UnixMillis) -> String {
    if moment <= now { "now".into() } else { format!("in {}", rounded(moment.since(now))) }
}

/// A duration by its two largest units at most.
fn rounded(duration: std::time::Duration) -> String {
    let text = humantime::format_duration(std::time::Duration::from_secs(duration.as_secs())).to_string();
    text.split(' ').take(2).collect::<Vec<_>>().join(" ")
}
