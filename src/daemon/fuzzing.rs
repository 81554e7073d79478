//! What a command can ask of the daemon, for the fuzzer: each line is a request, and is obeyed.

use std::cell::RefCell;

use tokio::runtime::Runtime;

use super::operator::Operator;
use crate::config::{self, Sources};
use crate::ops::control::Request;

/// Inputs until all begins anew: what is followed stays, and the database would grow.
const INPUTS: u32 = 2_000;

struct Operated {
    runtime: Runtime,
    operator: Operator,
    inputs: u32,
    _folder: tempfile::TempDir,
}

thread_local! {
    static OPERATED: RefCell<Option<Operated>> = const { RefCell::new(None) };
}

const CONFIG: &str = r#"
[store]
url = "sqlite:inboxd.db"

[accounts.main]
provider = "connectsafely"
api_key = "k"
account_id = "0123456789abcdef01234567"
conversations = [{ conversation_urn = "2-A" }]

[accounts.other]
provider = "unipile"
api_key = "k"
account_id = "acc_1"
discover = true

[sinks.out]
type = "stdout"
filter = "type == 'message.new'"

[sinks.kept]
type = "file"
path = "events.jsonl"
"#;

impl Operated {
    fn begin() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("inboxd.toml");
        let text = CONFIG
            .replace("inboxd.db", &folder.path().join("inboxd.db").display().to_string())
            .replace("events.jsonl", &folder.path().join("events.jsonl").display().to_string());
        std::fs::write(&file, text).expect("a file");
        let loaded = config::load(&Sources { file: Some(file), ..Sources::default() }).expect("is a configuration");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let store = runtime.block_on(super::open(loaded.store.clone())).expect("opens");
        Self { operator: Operator::new(&loaded, store, None), runtime, inputs: 0, _folder: folder }
    }
}

/// Obeys what is a request. Every request can be written down again as it was read.
pub fn control(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let requests: Vec<Request> = text.lines().take(8).filter_map(|line| serde_json::from_str(line).ok()).collect();
    for request in &requests {
        let written = serde_json::to_string(request).expect("a request can be written");
        assert_eq!(*request, serde_json::from_str(&written).expect("and read"));
    }
    if requests.is_empty() {
        return;
    }
    OPERATED.with_borrow_mut(|operated| {
        let Operated { runtime, operator, inputs, .. } = operated.get_or_insert_with(Operated::begin);
        for request in requests {
            let (Ok(said) | Err(said)) = runtime.block_on(operator.obey(request));
            assert!(!said.is_empty());
        }
        *inputs += 1;
        if *inputs == INPUTS {
            *operated = None;
        }
    });
}
