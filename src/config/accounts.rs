//! The accounts and the conversations they follow.

use std::collections::{HashMap, HashSet};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::polling::{self, Polling};
use super::problem::{Problem, unknown};
use super::reader::{Reader, type_of};
use super::table;
use crate::calendar::Calendar;
use crate::model::{AccountName, Conversation, counted};
use crate::providers::{self, Settings};
use crate::scheduler::{Baseline, Cadence, Priority, QuietHours};
use crate::time::UnixMillis;

/// An account of the configuration.
pub struct Account {
    /// Its name: its identity in the store and in events.
    pub name: AccountName,
    /// The keys of its provider.
    pub settings: Settings,
    /// How it is polled.
    pub polling: Polling,
    /// When only `max_interval` counts.
    pub quiet_hours: Option<QuietHours>,
    /// By which its days and months begin.
    pub calendar: Calendar,
    /// Whether it follows whatever the inbox lists.
    pub discover: bool,
    /// What it follows beside that.
    pub conversations: Vec<FollowedConversation>,
}

/// A rate that the provider limits several accounts by together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shared {
    /// The smallest of theirs.
    pub requests_per_minute: NonZeroU32,
    /// How many they are.
    pub accounts: u32,
}

impl Shared {
    /// The part of one of them.
    pub fn requests_per_minute_each(&self) -> f64 {
        f64::from(self.requests_per_minute.get()) / f64::from(self.accounts)
    }
}

/// What the accounts share, by [`Settings::budget_key`].
pub fn shared_budgets(accounts: &[Account]) -> HashMap<String, Shared> {
    let mut shared: HashMap<String, Shared> = HashMap::new();
    for account in accounts {
        let own = account.polling.requests_per_minute;
        let of_key = Shared { requests_per_minute: own, accounts: 0 };
        let all = shared.entry(account.settings.budget_key()).or_insert(of_key);
        all.requests_per_minute = own.min(all.requests_per_minute);
        all.accounts += 1;
    }
    shared
}

/// A conversation of the configuration.
pub struct FollowedConversation {
    /// The conversation.
    pub conversation: Arc<Conversation>,
    /// The bounds of its interval.
    pub cadence: Cadence,
    /// What its first poll does.
    pub baseline: Baseline,
}

/// Keys that every conversation may carry beside those of its provider.
#[derive(Deserialize)]
struct Common {
    #[serde(default)]
    since: Option<UnixMillis>,
    #[serde(default, with = "crate::settings::optional_duration")]
    min_interval: Option<Duration>,
    #[serde(default, with = "crate::settings::optional_duration")]
    max_interval: Option<Duration>,
    #[serde(default)]
    priority: Priority,
}

const COMMON: &[&str] = &["since", "min_interval", "max_interval", "priority"];
const OF_ACCOUNTS: &[&str] =
    &["provider", "polling", "discover", "conversations", "proxy", "insecure", "network", "tls"];

/// Reads `[accounts]`. What is wrong goes into `problems`; the accounts that are right are returned all the same, so
/// that everything wrong can be reported at once.
pub(super) fn read(
    section: Value,
    defaults: Option<&polling::Table>,
    problems: &mut Vec<Problem>,
    warnings: &mut Vec<Problem>,
) -> Vec<Account> {
    let Value::Object(entries) = section else {
        problems.push(Problem::new("accounts", format!("expected a table of accounts, found {}", type_of(&section))));
        return vec![];
    };
    if entries.is_empty() {
        problems.push(Problem::new("accounts", "there is none, so nothing would be polled; add [accounts.NAME]"));
    }
    let standard = polling::Table::default();
    let mut accounts = Vec::with_capacity(entries.len());
    for (name, entry) in entries {
        let key = format!("accounts.{name}");
        match account(&key, &name, entry, defaults.unwrap_or(&standard), problems) {
            Ok(account) => accounts.push(account),
            Err(problem) => problems.push(problem),
        }
    }
    let shared = shared_budgets(&accounts);
    for account in &accounts {
        advise(account, &shared[&account.settings.budget_key()], warnings);
    }
    accounts
}

fn account(
    key: &str,
    name: &str,
    entry: Value,
    defaults: &polling::Table,
    problems: &mut Vec<Problem>,
) -> Result<Account, Problem> {
    let name = AccountName::new(name).map_err(|e| Problem::new(key, e.to_string()))?;
    let Value::Object(mut entry) = entry else {
        return Err(Problem::new(key, format!("expected a table, found {}", type_of(&entry))));
    };
    let provider = match entry.remove("provider") {
        Some(Value::String(provider)) => provider,
        Some(_) => return Err(Problem::new(format!("{key}.provider"), "expected the name of a provider")),
        None => {
            let known = providers::NAMES.join(", ");
            return Err(Problem::new(format!("{key}.provider"), format!("is missing; known are {known}")));
        }
    };
    let own_polling = entry.remove("polling").unwrap_or_else(|| Value::Object(Map::new()));
    let listed = match entry.remove("conversations").unwrap_or_else(|| Value::Array(vec![])) {
        Value::String(text) => crate::settings::array(&text).map_or(Value::String(text), Value::Array),
        listed => listed,
    };
    let discover = match entry.remove("discover") {
        None => listed.as_array().is_some_and(Vec::is_empty),
        Some(discover) => crate::settings::flag(&discover)
            .ok_or_else(|| Problem::new(format!("{key}.discover"), "expected true or false"))?,
    };
    let reader = Reader { key, also_known: OF_ACCOUNTS };
    let settings = Settings::read(&provider, &reader, Value::Object(entry))
        .ok_or_else(|| Problem::new(format!("{key}.provider"), unknown("provider", &provider, providers::NAMES)))?;
    let own_keys: Vec<_> = own_polling.as_object().into_iter().flat_map(|table| table.keys().cloned()).collect();
    let own_polling = table::<polling::Table>(&format!("{key}.polling"), own_polling);
    // Without one of the two there is nothing to read the conversations with; both are wrong at once, often enough.
    let (settings, own_polling) = match (settings, own_polling) {
        (Ok(settings), Ok(polling)) => (settings, polling),
        (Ok(_), Err(problem)) | (Err(problem), Ok(_)) => return Err(problem),
        (Err(problem), Err(other)) => {
            problems.push(other);
            return Err(problem);
        }
    };
    problems.extend(settings.problem().map(|(name, message)| Problem::new(format!("{key}.{name}"), message)));
    let quiet_hours = own_polling.quiet_hours(defaults, key, &own_keys);
    let calendar = own_polling.calendar(defaults, key, &own_keys);
    // Told beside what else is wrong, once.
    problems.extend([quiet_hours.as_ref().err(), calendar.as_ref().err()].into_iter().flatten().cloned());
    let polling = own_polling.resolve(defaults, settings.profile(), key, &own_keys)?;
    let (quiet_hours, calendar) = (quiet_hours?, calendar?);
    if let Some((name, message)) = credits_problem(&polling, settings.price()) {
        let table = if own_keys.iter().any(|own| own == name) { format!("{key}.polling") } else { "polling".into() };
        return Err(Problem::new(format!("{table}.{name}"), message));
    }
    let conversations = conversations(key, listed, &settings, &polling, discover, problems);
    Ok(Account { name, settings, polling, quiet_hours, calendar, discover, conversations })
}

fn conversations(
    key: &str,
    listed: Value,
    settings: &Settings,
    polling: &Polling,
    discover: bool,
    problems: &mut Vec<Problem>,
) -> Vec<FollowedConversation> {
    let key = format!("{key}.conversations");
    let Value::Array(listed) = listed else {
        problems.push(Problem::new(key, format!("expected a list, found {}", type_of(&listed))));
        return vec![];
    };
    if listed.is_empty() && !discover {
        let remedy = format!("there is none and discover is false, so nothing would be polled; add [[{key}]]");
        problems.push(Problem::new(&key, remedy));
    }
    let mut seen = HashSet::with_capacity(listed.len());
    let mut conversations = Vec::with_capacity(listed.len());
    for (position, entry) in listed.into_iter().enumerate() {
        let key = format!("{key}[{position}]");
        match conversation(&key, entry, settings, polling) {
            Ok(followed) if settings.misplaced(&followed.conversation, discover).is_some() => {
                let reason = settings.misplaced(&followed.conversation, discover).unwrap_or_default();
                problems.push(Problem::new(key, format!("cannot be listed here: {reason}")));
            }
            Ok(followed) if seen.insert(followed.conversation.id.clone()) => conversations.push(followed),
            Ok(_) => {
                problems.push(Problem::new(key, "names a conversation that is listed before it; remove one of them"))
            }
            Err(problem) => problems.push(problem),
        }
    }
    conversations
}

fn conversation(
    key: &str,
    entry: Value,
    settings: &Settings,
    polling: &Polling,
) -> Result<FollowedConversation, Problem> {
    let Value::Object(mut entry) = entry else {
        return Err(Problem::new(key, format!("expected a table, found {}", type_of(&entry))));
    };
    let common: Map<_, _> = COMMON.iter().filter_map(|&name| entry.remove_entry(name)).collect();
    let common = table::<Common>(key, Value::Object(common))?;
    let reader = Reader { key, also_known: COMMON };
    let conversation = settings.conversation(&reader, Value::Object(entry))?.map_err(|message| {
        let (name, message) = message.split_once(": ").unwrap_or(("", &message));
        Problem::new(format!("{key}.{name}").trim_end_matches('.'), message)
    })?;
    let min_interval = common.min_interval.unwrap_or(polling.cadence.min_interval);
    let max_interval = common.max_interval.unwrap_or(polling.cadence.max_interval.max(min_interval));
    // Setting one bound beyond the account's other one means to move both.
    let min_interval = if common.min_interval.is_none() { min_interval.min(max_interval) } else { min_interval };
    let cadence = polling::cadence(min_interval, max_interval, common.priority)
        .map_err(|(name, message)| Problem::new(format!("{key}.{name}"), message))?;
    let baseline = common.since.map_or(polling.baseline, Baseline::Since);
    Ok(FollowedConversation { conversation: Arc::new(conversation), cadence, baseline })
}

/// What is valid and yet against advice, or more than the budget can hold.
fn advise(account: &Account, shared: &Shared, warnings: &mut Vec<Problem>) {
    let key = format!("accounts.{}", account.name);
    if let Some((name, advice)) = account.settings.unread(account.discover) {
        warnings.push(Problem::new(format!("{key}.{name}"), advice));
    }
    warnings.extend(to_come(account.polling.baseline).map(|m| Problem::new(format!("{key}.polling.first_poll"), m)));
    for (place, followed) in
        account.conversations.iter().enumerate().filter(|(_, c)| c.baseline != account.polling.baseline)
    {
        let key = format!("{key}.conversations[{place}].since");
        warnings.extend(to_come(followed.baseline).map(|message| Problem::new(key, message)));
    }
    let profile = account.settings.profile();
    let min_interval = account.polling.cadence.min_interval;
    if min_interval < profile.advised_min_interval {
        let [min, advised] = [min_interval, profile.advised_min_interval].map(humantime::format_duration);
        let message = format!("is {min}; {} advises against less than {advised}", profile.name);
        warnings.push(Problem::new(format!("{key}.polling.min_interval"), message));
    }
    let a_minute = |c: &FollowedConversation| 60.0 / c.cadence.max_interval.as_secs_f64();
    let looks: f64 = account.conversations.iter().map(a_minute).sum();
    let needed = looks / account.settings.batch_size() as f64;
    let conversations = counted(account.conversations.len(), "conversation");
    let (rate, together) = (shared.requests_per_minute, shared.accounts);
    if needed > shared.requests_per_minute_each() {
        let among = if together > 1 { format!(" among {together} accounts of one key") } else { String::new() };
        let message = format!(
            "is {rate}{among}, but {conversations} need {needed:.0} to keep max_interval; they will be polled less often"
        );
        warnings.push(Problem::new(format!("{key}.polling.requests_per_minute"), message));
    }
    let (price, share) = (account.settings.price(), account.polling.credits.average_day() / 3);
    let needed = looks * 1_440.0 * f64::from(price);
    if needed > f64::from(share) {
        let message = format!(
            "leave {share} a day for {conversations} that have not moved, which need {needed:.0} to keep max_interval; they will be polled less often"
        );
        warnings.push(Problem::new(format!("{key}.polling.daily_credits"), message));
    }
}

/// A time that is still to come would be later than what it is for.
fn to_come(baseline: Baseline) -> Option<String> {
    let Baseline::Since(since) = baseline else { return None };
    let now = UnixMillis::now();
    (since > now).then(|| {
        format!(
            "lies in the future (it is {now} now): until then it does what \"now\" does, so that nothing that is \
             written after first contact is missed"
        )
    })
}

/// A third of an average day has to pay for a request, or nothing would ever be asked.
fn credits_problem(polling: &Polling, price: u32) -> Option<(&'static str, String)> {
    let day = polling.credits.average_day();
    let of_month = day < polling.credits.daily;
    let key = if of_month { "monthly_credits" } else { "daily_credits" };
    (price > 0 && day / 3 < price).then(|| {
        let least = if of_month { price * 3 * 31 } else { price * 3 };
        let message =
            format!("must be at least {least}: a request may cost {price}, and a third of a day has to pay for one");
        (key, message)
    })
}
