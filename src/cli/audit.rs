//! `inboxd audit`

use std::io::Write as _;
use std::time::Duration;

use serde::Serialize;

use super::{ConfigFile, FOUND_PROBLEMS, Failure};
use crate::model::{Untrusted, counted, json_line};
use crate::store::{AccountOverview, ConversationOverview, FolderOverview, GapOverview, Overview, UnreadOverview};
use crate::time::UnixMillis;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    file: ConfigFile,
    /// One JSON object with every conversation
    #[arg(long)]
    json: bool,
}

/// What the audit says of everything.
#[derive(Serialize)]
struct Audit {
    /// No gap and nothing stale.
    complete: bool,
    at: UnixMillis,
    inboxes: Vec<AuditedInbox>,
    conversations: Vec<Audited>,
}

/// What the audit says of one folder of an inbox: what is not listed may hold conversations that nobody knows of.
#[derive(Serialize)]
struct AuditedInbox {
    account: String,
    folder: String,
    /// Last complete listing.
    listed_at: Option<UnixMillis>,
    /// Why conversations may be missing; null: it was listed lately.
    stale: Option<String>,
    /// Rows that could not be read; each may be a conversation.
    unreadable: Option<UnreadOverview>,
}

impl AuditedInbox {
    fn has_problem(&self) -> bool {
        self.stale.is_some() || self.unreadable.is_some()
    }
}

/// What the audit says of one conversation.
#[derive(Serialize)]
struct Audited {
    account: String,
    conversation: String,
    title: Option<String>,
    verified_until: Option<UnixMillis>,
    /// Why it may lack messages; null: it lacks none up to `verified_until`, and that is young enough.
    stale: Option<String>,
    gaps: Vec<GapOverview>,
    /// Messages that could not be read.
    unreadable: Option<UnreadOverview>,
    /// Long history under way: pages read so far.
    walk_pages: Option<u32>,
}

impl Audited {
    fn has_problem(&self) -> bool {
        self.stale.is_some() || !self.gaps.is_empty() || self.unreadable.is_some()
    }
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let overview = arguments.file.open_store()?.overview()?;
    let audit = audit(&overview, UnixMillis::now());
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    if arguments.json {
        let text = json_line(&audit).map_err(|e| Failure::new(super::FAILED, e.to_string()))?;
        writeln!(out, "{text}")?;
    } else {
        show(&mut out, &audit)?;
    }
    out.flush()?;
    let conversations = audit.conversations.iter().filter(|audited| audited.has_problem()).count();
    let inboxes = audit.inboxes.iter().filter(|inbox| inbox.stale.is_some()).count();
    let unread = audit.inboxes.iter().filter(|inbox| inbox.unreadable.is_some()).count();
    let mut found = Vec::new();
    if conversations > 0 {
        let of = counted(audit.conversations.len(), "conversation");
        found.push(format!("{conversations} of {of} may lack messages"));
    }
    if inboxes > 0 {
        found.push("an inbox is not listed, so that conversations may be missing".to_owned());
    }
    if unread > 0 {
        found.push("an inbox lists what cannot be read, which may be conversations".to_owned());
    }
    if found.is_empty() { Ok(()) } else { Err(Failure::new(FOUND_PROBLEMS, found.join("; "))) }
}

fn show(out: &mut impl std::io::Write, audit: &Audit) -> std::io::Result<()> {
    for inbox in &audit.inboxes {
        let name = if inbox.folder.is_empty() { String::new() } else { format!(" {}", Untrusted(&inbox.folder)) };
        let listed = inbox.listed_at.map_or_else(|| "never listed to its end".to_owned(), |at| format!("listed {at}"));
        writeln!(out, "{} inbox{name}: {listed}", inbox.account)?;
        if let Some(stale) = &inbox.stale {
            writeln!(out, "    STALE: {}", Untrusted(stale))?;
        }
        show_unreadable(out, inbox.unreadable.as_ref(), "row")?;
    }
    for audited in &audit.conversations {
        let name = audited.title.as_deref().unwrap_or(&audited.conversation);
        let until =
            audited.verified_until.map_or_else(|| "nothing yet".to_owned(), |at| format!("everything until {at}"));
        writeln!(out, "{} {}: {until}", audited.account, Untrusted(name))?;
        if let Some(stale) = &audited.stale {
            writeln!(out, "    STALE: {}", Untrusted(stale))?;
        }
        for gap in &audited.gaps {
            let from = gap.low.map_or_else(|| "the beginning".to_owned(), |low| low.to_string());
            let to = gap.high.map_or_else(|| gap.found_at.to_string(), |high| high.to_string());
            writeln!(out, "    GAP: from {from} to {to}: {}", Untrusted(&gap.reason))?;
        }
        show_unreadable(out, audited.unreadable.as_ref(), "message")?;
        if let Some(pages) = audited.walk_pages {
            writeln!(out, "    a long history is being read, {pages} pages so far")?;
        }
    }
    Ok(())
}

fn show_unreadable(out: &mut impl std::io::Write, unread: Option<&UnreadOverview>, noun: &str) -> std::io::Result<()> {
    let Some(unread) = unread else { return Ok(()) };
    let count = counted(unread.items as usize, noun);
    let UnreadOverview { looks, first_seen_at, last_seen_at, .. } = unread;
    writeln!(
        out,
        "    UNREADABLE: {count}, the first of them {}; met since {first_seen_at}, last {last_seen_at}",
        Untrusted(looks)
    )
}

fn audit(overview: &Overview, now: UnixMillis) -> Audit {
    let (mut inboxes, mut conversations) = (Vec::<AuditedInbox>::new(), Vec::new());
    for account in &overview.accounts {
        inboxes.extend(audit_inbox(account));
        for conversation in account.conversations.iter().filter(|c| c.followed || !c.gaps.is_empty()) {
            let unreadable = conversation.unreadable.clone().filter(|_| conversation.followed);
            conversations.push(Audited {
                account: account.name.clone(),
                conversation: conversation.id.clone(),
                title: conversation.title.clone(),
                verified_until: conversation.verified_until,
                stale: if conversation.followed { stale(account, conversation, now) } else { None },
                gaps: conversation.gaps.clone(),
                unreadable,
                walk_pages: conversation.walk_pages,
            });
        }
    }
    let complete = !conversations.iter().any(Audited::has_problem) && !inboxes.iter().any(AuditedInbox::has_problem);
    Audit { complete, at: now, inboxes, conversations }
}

/// Why an inbox whose listing finds no room is not read to its end.
const FULL: &str = "it lists more conversations than max_conversations, which are not followed";

/// The folders of an inbox that is to be followed; one that has never been asked for counts as one.
fn audit_inbox(account: &AccountOverview) -> Vec<AuditedInbox> {
    if !account.configured || !account.discovers {
        return vec![];
    }
    let inbox = |folder: &str, listed_at, stale, unreadable| AuditedInbox {
        account: account.name.clone(),
        folder: folder.to_owned(),
        listed_at,
        stale,
        unreadable,
    };
    let was_listed = |folder: &&FolderOverview| {
        folder.swept_at.is_some() || folder.failing_since.is_some() || folder.unreadable.is_some()
    };
    let listed = account.inbox.iter().filter(was_listed);
    let folders: Vec<_> = listed
        .map(|folder| {
            let stale = match (&folder.failure_class, folder.first_swept_at) {
                (Some(class), _) => {
                    let detail = folder.failure_detail.as_deref().unwrap_or_default();
                    Some(format!("it cannot be listed ({class}): {detail}"))
                }
                (None, _) if account.full_since.is_some() => Some(FULL.into()),
                (None, None) => Some("its first listing has not come to its end".into()),
                (None, Some(_)) => None,
            };
            inbox(&folder.folder, folder.swept_at, stale, folder.unreadable.clone())
        })
        .collect();
    let unlisted = if account.full_since.is_some() { FULL } else { "it has not been listed yet" };
    if folders.is_empty() { vec![inbox("", None, Some(unlisted.into()), None)] } else { folders }
}

/// Why a conversation may lack messages. What the provider or a person has to repair counts at once, everything else when
/// the conversation has been unverified for longer than its `max_interval`.
fn stale(account: &AccountOverview, c: &ConversationOverview, now: UnixMillis) -> Option<String> {
    if let Some(lapsed_at) = c.lapsed_at {
        return Some(format!("the provider does not collect new messages since {lapsed_at}"));
    }
    let paused = account.pause_class.as_deref().filter(|_| account.paused_until.is_some());
    let pause =
        || format!("the account is paused: {}", account.pause_reason.as_deref().unwrap_or("no reason is known"));
    if paused == Some("auth") {
        return Some(pause());
    }
    let allowed = c.max_interval_seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    let allowed = allowed.unwrap_or(Duration::from_secs(6 * 3600)).min(crate::settings::LONGEST);
    // Jitter, and a request that takes its time.
    let allowed = allowed.mul_f64(1.1) + Duration::from_secs(60);
    let since = c.verified_until.or(c.first_polled_at);
    if since.is_some_and(|since| now.since(since) <= allowed) {
        return None;
    }
    let unverified = match since {
        Some(since) => format!("not verified since {since}"),
        None => "not read yet".to_owned(),
    };
    let reason = if paused.is_some() {
        pause()
    } else if c.failures > 0 || c.failure_class.as_deref() == Some("budget") {
        let class = c.failure_class.as_deref().unwrap_or("unknown");
        format!("polls wait ({class}): {}", c.failure_detail.as_deref().unwrap_or_default())
    } else if c.walk_pages.is_some() {
        "a long history is being read".into()
    } else if now.since(c.due_at) > Duration::from_secs(60) {
        "polls are overdue: the daemon does not run, or the budget does not suffice".into()
    } else {
        "the polls since then proved nothing, or wait for their turn".into()
    };
    Some(format!("{unverified}; {reason}"))
}
