//! The layers: embedded defaults, file, environment, command line; the later wins.

use std::path::{Path, PathBuf};

use config::{Config, Environment, File, FileFormat};
use serde_json::Value;

use super::problem::Problem;

const DEFAULTS: &str = include_str!("../../config/default.toml");
const PREFIX: &str = "INBOXD";

/// Where the configuration comes from.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The file, from `--config`; searched for when not given.
    pub file: Option<PathBuf>,
    /// Keys from the command line, such as `("log.level", "debug")`.
    pub overrides: Vec<(String, String)>,
}

/// All layers merged, and which of them a key came from.
pub(super) struct Layers {
    pub(super) merged: Value,
    pub(super) file: String,
    environment: Value,
}

impl Layers {
    /// Names the layer that set a key, for an error about it.
    pub(super) fn origin(&self, key: &str) -> String {
        let mut found = &self.environment;
        for part in key.split(['.', '[']).filter(|part| !part.is_empty()) {
            match found.get(part) {
                Some(value) => found = value,
                None if found.is_object() => return self.file.clone(),
                None => break,
            }
        }
        if found.is_object() {
            return self.file.clone();
        }
        format!("environment variable {PREFIX}__{}", key.replace('.', "__").to_uppercase())
    }
}

/// Finds the file: as given, `$INBOXD_CONFIG`, `./inboxd.toml`, `/etc/inboxd/inboxd.toml`.
pub(super) fn find(given: Option<&Path>) -> Result<PathBuf, Problem> {
    if let Some(path) = given {
        return Ok(path.to_owned());
    }
    if let Some(path) = std::env::var_os("INBOXD_CONFIG") {
        return Ok(path.into());
    }
    let places = [Path::new("inboxd.toml"), Path::new("/etc/inboxd/inboxd.toml")];
    let found = places.into_iter().find(|path| path.exists());
    found.map(Path::to_owned).ok_or_else(|| {
        Problem::new(
            "",
            "no configuration found: looked for ./inboxd.toml and /etc/inboxd/inboxd.toml; begin with \
             \"inboxd init linkedapi > inboxd.toml\", or name a file with --config",
        )
    })
}

/// Reads and merges all layers.
pub(super) fn read(sources: &Sources) -> Result<Layers, Problem> {
    let path = find(sources.file.as_deref())?;
    let file = path.display().to_string();
    let at_file = |problem: Problem| Problem { origin: file.clone(), ..problem };
    let text = std::fs::read_to_string(&path).map_err(|e| at_file(not_read(&e)))?;
    let format = match path.extension().and_then(|e| e.to_str()) {
        Some("yaml" | "yml") => FileFormat::Yaml,
        Some("json") => FileFormat::Json,
        _ => FileFormat::Toml,
    };
    check_syntax(&text, format).map_err(at_file)?;
    let environment = || Environment::with_prefix(PREFIX).prefix_separator("__").separator("__").ignore_empty(false);
    let mut builder = Config::builder()
        .add_source(File::from_str(DEFAULTS, FileFormat::Toml))
        .add_source(File::from_str(&text, format))
        .add_source(environment());
    for (key, value) in &sources.overrides {
        builder = builder.set_override(key, value.as_str()).map_err(|e| Problem::new(key, e.to_string()))?;
    }
    let merged = tree(builder).map_err(at_file)?;
    let environment = tree(Config::builder().add_source(environment()))
        .map_err(|problem| Problem { origin: "environment".into(), ..problem })?;
    Ok(Layers { merged, file, environment })
}

fn tree(builder: config::ConfigBuilder<config::builder::DefaultState>) -> Result<Value, Problem> {
    // The parser's own message may quote the text, and with it a secret; syntax was checked before.
    let refused = |_| Problem::new("", "cannot be read as a table of keys");
    builder.build().map_err(refused)?.try_deserialize().map_err(refused)
}

fn not_read(error: &std::io::Error) -> Problem {
    match error.kind() {
        std::io::ErrorKind::NotFound => Problem::new("", "does not exist"),
        std::io::ErrorKind::InvalidData => Problem::new("", "is not UTF-8 text"),
        _ => Problem::unreadable("", format!("cannot be read: {error}")),
    }
}

/// Tells where the syntax is wrong, without quoting the line: it may hold a secret.
fn check_syntax(text: &str, format: FileFormat) -> Result<(), Problem> {
    let at = |line: usize, column: usize, message: &str| {
        Err(Problem::new("", format!("line {line}, column {column}: {message}")))
    };
    match format {
        FileFormat::Toml => match text.parse::<toml::Table>() {
            Ok(_) => Ok(()),
            Err(error) => {
                let offset = error.span().map_or(0, |span| span.start.min(text.len()));
                let before = text.get(..offset).unwrap_or_default();
                let column = before.chars().rev().take_while(|&c| c != '\n').count() + 1;
                // TOML's words for a repeated key name the key, which is not a secret; values are not repeated.
                let message = error.message().lines().next().unwrap_or_default();
                at(before.matches('\n').count() + 1, column, &format!("is not TOML: {message}"))
            }
        },
        FileFormat::Json => match serde_json::from_str::<serde::de::IgnoredAny>(text) {
            Ok(_) => Ok(()),
            Err(error) => at(error.line(), error.column(), "is not JSON"),
        },
        _ => Ok(()),
    }
}
