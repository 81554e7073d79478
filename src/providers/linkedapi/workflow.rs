//! Sync workflows: `POST /workflows` starts one, `GET /workflows/{id}` tells how it does.

use std::time::Duration;

use async_trait::async_trait;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::errors::{self, WireError};
use super::{DEFAULT_DAYS, LinkedApi, wire_type};
use crate::model::Conversation;
use crate::providers::{Class, Error, Started, Upkeep, Workflow, http, moment};
use crate::time::UnixMillis;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SyncAction<'a> {
    action_type: String,
    person_url: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    days: Option<u64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Accepted {
    workflow_id: String,
    #[serde(default)]
    pending_reason: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    #[serde(default)]
    workflow_status: Option<String>,
    #[serde(default)]
    pending_reason: Option<String>,
    #[serde(default)]
    completion: Option<Completion>,
    #[serde(default)]
    failure: Option<WireError>,
}

/// One outcome for a single action, an array for several; we send one.
#[derive(Deserialize)]
#[serde(untagged)]
enum Completion {
    One(ActionOutcome),
    Many(Vec<ActionOutcome>),
}

#[derive(Deserialize)]
struct ActionOutcome {
    #[serde(default)]
    success: Option<bool>,
    #[serde(default)]
    data: Option<Value>,
    #[serde(default)]
    error: Option<WireError>,
}

const OUTSIDE_WORKING_HOURS: &str = "outsideWorkingHours";

#[async_trait]
impl Upkeep for LinkedApi {
    async fn start(&self, conversation: &Conversation) -> Result<Started, Error> {
        let action = SyncAction {
            action_type: format!("{}.syncConversation", wire_type(conversation)),
            person_url: &conversation.address,
            days: self.settings.days,
        };
        self.start_workflow(serde_json::to_vec(&action).expect("strings and numbers always serialise")).await
    }

    async fn status(&self, workflow_id: &str) -> Result<Workflow, Error> {
        self.workflow_status(workflow_id).await
    }

    fn period(&self) -> Duration {
        Duration::from_secs(self.settings.days.unwrap_or(DEFAULT_DAYS) * 86_400)
    }
}

impl LinkedApi {
    /// Starts the workflow that an action describes.
    pub(super) async fn start_workflow(&self, action: Vec<u8>) -> Result<Started, Error> {
        let answer = self.call(Method::POST, "/workflows", Some(action)).await?;
        let accepted: Accepted = errors::result(&answer)?;
        Ok(Started {
            answered_at: http::answered_at(&answer.headers),
            workflow_id: accepted.workflow_id,
            outside_working_hours: accepted.pending_reason.as_deref() == Some(OUTSIDE_WORKING_HOURS),
        })
    }

    /// Asks how a workflow does.
    pub(super) async fn workflow_status(&self, workflow_id: &str) -> Result<Workflow, Error> {
        let path = format!("/workflows/{}", utf8_percent_encode(workflow_id, NON_ALPHANUMERIC));
        let answer = self.call(Method::GET, &path, None).await?;
        let status: Status = errors::result(&answer)?;
        Ok(match status.workflow_status.as_deref() {
            Some("completed") => completed(status.completion),
            Some("failed") => Workflow::Failed(match status.failure {
                Some(failure) => errors::of_type(&failure),
                None => Error::new(Class::Protocol, "the workflow failed without a reason"),
            }),
            _ => Workflow::Running {
                outside_working_hours: status.pending_reason.as_deref() == Some(OUTSIDE_WORKING_HOURS),
            },
        })
    }
}

fn sync_until(value: &Value) -> Option<UnixMillis> {
    match value {
        Value::String(text) => moment::of_text(text.trim()),
        Value::Number(number) => moment::of_text(&number.to_string()),
        _ => None,
    }
}

/// A completed workflow does not mean that its action worked.
fn completed(completion: Option<Completion>) -> Workflow {
    let outcome = match completion {
        Some(Completion::One(outcome)) => Some(outcome),
        Some(Completion::Many(mut outcomes)) => outcomes.pop(),
        None => None,
    };
    match outcome {
        Some(ActionOutcome { error: Some(error), .. }) => Workflow::Failed(errors::of_type(&error)),
        Some(ActionOutcome { success: Some(true), data, .. }) => {
            Workflow::Done { sync_until: data.as_ref().and_then(|data| sync_until(&data["syncUntil"])) }
        }
        Some(_) => Workflow::Failed(Error::new(Class::Protocol, "the sync ended without success and without a reason")),
        None => Workflow::Failed(Error::new(Class::Protocol, "the completed workflow has no outcome")),
    }
}
