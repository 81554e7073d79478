//! Workflows: what drives LinkedIn takes its time, runs one at a time and is asked after by id.
//!
//! The course of a workflow is laid down when it starts. What it changes takes effect when its time has come, whether
//! or not anybody asks: every request settles first what is due.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use axum::extract::Path;
use axum::response::Response;
use serde_json::{Map, Value, json};

use super::{Incoming, Refusal, answer, kind_of, success};
use crate::backoff::mix;
use crate::simulator::Endpoint;
use crate::simulator::exchange::Answer;
use crate::simulator::people::OWNER;
use crate::simulator::switches::Outcome;
use crate::simulator::world::{Kind, State};
use crate::time::UnixMillis;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// Every workflow of the account.
pub(in crate::simulator) struct Workflows {
    seed: u64,
    started: u64,
    by_id: HashMap<String, Workflow>,
    /// Those that will end, by when.
    due: BTreeMap<(UnixMillis, u64), String>,
    busy_until: UnixMillis,
}

struct Workflow {
    actions: Vec<Action>,
    in_array: bool,
    /// Until when it is parked outside working hours; `None` is for ever.
    parked_until: Option<UnixMillis>,
    /// When it runs and when it ends; `None` is never.
    runs: Option<(UnixMillis, UnixMillis)>,
    cancelled: bool,
}

#[derive(Clone)]
struct Action {
    name: String,
    kind: Kind,
    /// Whose conversation is synced; `None` syncs the inbox.
    person_url: Option<String>,
    days: u32,
    label: Option<Value>,
    outcome: Outcome,
    /// What the completion says of it; set when the workflow ends.
    result: Option<Result<Option<UnixMillis>, Failure>>,
}

/// How an action did not work.
#[derive(Clone)]
enum Failure {
    Typed(String),
    Silent,
}

impl Workflows {
    pub(in crate::simulator) fn new(seed: u64) -> Self {
        let busy_until = UnixMillis::from_millis(0);
        Self { seed, started: 0, by_id: HashMap::new(), due: BTreeMap::new(), busy_until }
    }
}

impl State {
    /// Lets every workflow take effect that has ended by `now`.
    pub(in crate::simulator) fn settle_workflows(&mut self, now: UnixMillis) {
        while let Some(entry) = self.workflows.due.first_entry().filter(|entry| entry.key().0 <= now) {
            let id = entry.remove();
            let Some(workflow) = self.workflows.by_id.get_mut(&id).filter(|workflow| !workflow.cancelled) else {
                continue;
            };
            let ran = workflow.runs.unwrap_or((now, now));
            let mut actions = std::mem::take(&mut workflow.actions);
            for action in &mut actions {
                action.result = Some(self.act(action, ran));
            }
            if let Some(workflow) = self.workflows.by_id.get_mut(&id) {
                workflow.actions = actions;
            }
        }
    }

    fn act(
        &mut self,
        action: &Action,
        (ran_at, ended_at): (UnixMillis, UnixMillis),
    ) -> Result<Option<UnixMillis>, Failure> {
        match &action.outcome {
            Outcome::CompletedWithError(error_type) => return Err(Failure::Typed(error_type.clone())),
            Outcome::CompletedWithoutSuccess | Outcome::Failed(_) | Outcome::UnknownStatus(_) => {
                return Err(Failure::Silent);
            }
            _ => {}
        }
        let switches = &self.switches.linked_api;
        let refused = |error_type: &str| Err(Failure::Typed(error_type.into()));
        if action.kind == Kind::SalesNavigator && !switches.has_sales_navigator {
            return refused("noSalesNavigator");
        }
        let Some(person_url) = &action.person_url else {
            self.inbox.monitor(action.kind, ended_at);
            return Ok(None);
        };
        if person_url.trim_end_matches('/') == OWNER.url() {
            return refused("selfProfileNotAllowed");
        }
        let Some(reference) = self.find_person(action.kind, person_url) else {
            return refused("personNotFound");
        };
        let conversation = &mut self.conversations[reference.0];
        let quick_repeat = conversation.synced_at.is_some_and(|before| ran_at.since(before) < DAY);
        if !quick_repeat || switches.quick_repeat_extends {
            conversation.sync_until = Some(ran_at + DAY * action.days);
            conversation.synced_at = Some(ran_at);
        }
        Ok(conversation.sync_until.filter(|_| switches.completion_sync_until))
    }
}

pub(super) async fn start(incoming: Incoming) -> Response {
    let actions = parse(&incoming.body);
    let concerns = |state: &State| {
        let actions = actions.as_ref().map(|parsed| parsed.actions.as_slice()).unwrap_or_default();
        actions.iter().filter_map(|action| state.find_person(action.kind, action.person_url.as_ref()?)).collect()
    };
    let respond = |state: &mut State, _, now| started(state, actions.as_ref().map_err(Refusal::clone)?, now);
    answer(incoming, Endpoint::LinkedApiStart, concerns, respond).await
}

/// A start as read.
struct Parsed {
    actions: Vec<Action>,
    in_array: bool,
    unknown_field: bool,
}

fn parse(body: &[u8]) -> Result<Parsed, Refusal> {
    let body: Value = serde_json::from_slice(body).map_err(|_| Refusal::payload("the body must be JSON"))?;
    let in_array = body.is_array();
    let entries = match body {
        Value::Array(entries) if entries.is_empty() => return Err(Refusal::payload("the array must not be empty")),
        Value::Array(entries) => entries,
        entry => vec![entry],
    };
    let mut unknown_field = false;
    let mut actions = Vec::with_capacity(entries.len());
    for entry in entries {
        let Value::Object(mut entry) = entry else { return Err(Refusal::payload("an action must be an object")) };
        actions.push(action(&mut entry)?);
        unknown_field |= !entry.is_empty();
    }
    Ok(Parsed { actions, in_array, unknown_field })
}

/// Takes the known fields of an action out of its object.
fn action(entry: &mut Map<String, Value>) -> Result<Action, Refusal> {
    let Some(Value::String(name)) = entry.remove("actionType") else {
        return Err(Refusal::payload("actionType must be a string"));
    };
    let (kind, verb) = name.split_once('.').unwrap_or((&name, ""));
    let kind = kind_of(kind).filter(|_| matches!(verb, "syncConversation" | "syncInbox"));
    let kind = kind.ok_or_else(|| Refusal::new("invalidWorkflow", format!("unknown actionType {name}")))?;
    if verb == "syncInbox" {
        let label = entry.remove("label");
        return Ok(Action { name, kind, person_url: None, days: 0, label, outcome: Outcome::Completed, result: None });
    }
    let Some(Value::String(person_url)) = entry.remove("personUrl") else {
        return Err(Refusal::payload("personUrl must be a string"));
    };
    let days = match entry.remove("days") {
        None => 30,
        Some(days) => match days.as_u64().and_then(|days| u32::try_from(days).ok()) {
            Some(days @ 1..=90) => days,
            _ => return Err(Refusal::payload("days must be a whole number from 1 to 90")),
        },
    };
    let label = entry.remove("label");
    Ok(Action { name, kind, person_url: Some(person_url), days, label, outcome: Outcome::Completed, result: None })
}

fn started(state: &mut State, parsed: &Parsed, now: UnixMillis) -> Result<Answer, Refusal> {
    let switches = &mut state.switches.linked_api;
    if let Some(error_type) = &switches.refuse_start {
        return Err(Refusal::new(error_type, "The workflow was not started."));
    }
    if parsed.unknown_field && switches.refuse_unknown_fields {
        return Err(Refusal::payload("unknown field"));
    }
    let mut actions = parsed.actions.clone();
    for action in &mut actions {
        action.outcome = if switches.script.is_empty() { switches.outcome.clone() } else { switches.script.remove(0) };
    }
    let waits = |outcome: &Outcome| match outcome {
        Outcome::Parked(millis) => *millis,
        Outcome::Pending => None,
        _ => Some(0),
    };
    // The longest wait of its actions is the workflow's.
    let wait = actions.iter().map(|action| waits(&action.outcome)).try_fold(0, |most, wait| Some(most.max(wait?)));
    let parked = actions.iter().any(|action| matches!(action.outcome, Outcome::Parked(_)));
    let workflows = &mut state.workflows;
    workflows.started += 1;
    let number = workflows.started;
    let id = format!("wf-{:016x}", mix(workflows.seed, number));
    let runs = wait.map(|wait| {
        let ready = now + Duration::from_millis(wait.saturating_add(switches.pending_ms));
        let start = if switches.one_at_a_time { ready.max(workflows.busy_until) } else { ready };
        (start, start + Duration::from_millis(switches.running_ms))
    });
    if let Some((_, end)) = runs {
        workflows.busy_until = workflows.busy_until.max(end);
        workflows.due.insert((end, number), id.clone());
    }
    let parked_until = if parked { wait.map(|wait| now + Duration::from_millis(wait)) } else { Some(now) };
    let workflow = Workflow { actions, in_array: parsed.in_array, parked_until, runs, cancelled: false };
    let mut result = if switches.start_has_status { workflow.progress(now) } else { json!({}) };
    result["workflowId"] = json!(id);
    workflows.by_id.insert(id, workflow);
    Ok(success(result))
}

impl Workflow {
    /// The status fields at `now`.
    fn progress(&self, now: UnixMillis) -> Value {
        if self.parked_until.is_none_or(|until| until > now) {
            let message = "Waiting for the account's working hours.";
            return json!({ "workflowStatus": "pending", "pendingReason": "outsideWorkingHours", "message": message });
        }
        match self.runs {
            Some((start, end)) if start <= now && now < end => json!({ "workflowStatus": "running" }),
            Some((_, end)) if end <= now => self.ended(),
            _ => json!({ "workflowStatus": "pending", "pendingReason": "queued", "message": "Queued." }),
        }
    }

    fn ended(&self) -> Value {
        for action in &self.actions {
            match &action.outcome {
                Outcome::Failed(reason) => {
                    let failure = json!({ "reason": reason, "message": "The workflow has failed." });
                    return json!({ "workflowStatus": "failed", "failure": failure });
                }
                Outcome::UnknownStatus(status) => return json!({ "workflowStatus": status }),
                _ => {}
            }
        }
        let mut outcomes: Vec<Value> = self.actions.iter().map(Action::outcome).collect();
        let completion = if self.in_array { Value::Array(outcomes) } else { outcomes.remove(0) };
        json!({ "workflowStatus": "completed", "completion": completion })
    }
}

impl Action {
    fn outcome(&self) -> Value {
        let mut outcome = json!({ "actionType": self.name, "success": matches!(self.result, Some(Ok(_))) });
        match &self.result {
            Some(Ok(Some(until))) => outcome["data"] = json!({ "syncUntil": until }),
            Some(Err(Failure::Typed(error_type))) => {
                outcome["error"] = json!({ "type": error_type, "message": "The action did not work." });
            }
            Some(Ok(None) | Err(Failure::Silent)) | None => {}
        }
        if let Some(label) = &self.label {
            outcome["label"] = label.clone();
        }
        outcome
    }
}

fn not_found() -> Refusal {
    Refusal::new("workflowNotFound", "No such workflow.")
}

pub(super) async fn status(Path(id): Path<String>, incoming: Incoming) -> Response {
    let respond = |state: &mut State, _, now| {
        let switches = &state.switches.linked_api;
        let workflow = state.workflows.by_id.get(&id).ok_or_else(not_found)?;
        let mut result = match workflow.cancelled {
            false => workflow.progress(now),
            true if switches.cancelled_is_known => json!({ "workflowStatus": "cancelled" }),
            true => return Err(not_found()),
        };
        if switches.status_has_workflow_id {
            result["workflowId"] = json!(id);
        }
        Ok(success(result))
    };
    answer(incoming, Endpoint::LinkedApiStatus, |_| Vec::new(), respond).await
}

pub(super) async fn cancel(Path(id): Path<String>, incoming: Incoming) -> Response {
    let respond = |state: &mut State, _, now| {
        let workflows = &mut state.workflows;
        let workflow = workflows.by_id.get_mut(&id).filter(|it| !it.cancelled).ok_or_else(not_found)?;
        workflow.cancelled = workflow.runs.is_none_or(|(_, end)| end > now);
        let answer = success(json!({ "cancelled": workflow.cancelled }));
        if workflow.cancelled {
            // Whatever starts next need not wait for it; what waits already keeps its turn.
            workflows.due.retain(|_, due| *due != id);
            workflows.busy_until = workflows.due.last_key_value().map_or(now, |((end, _), _)| *end);
        }
        Ok(answer)
    };
    answer(incoming, Endpoint::LinkedApiCancel, |_| Vec::new(), respond).await
}
