//! The layers: embedded defaults, file, environment, command line; the later wins.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use config::{Config, File, FileFormat};
use serde_json::Value;

use super::environment::{self, Variable};
use super::problem::Problem;
use super::syntax;
use crate::ownership::{Strangers, check_place};

const DEFAULTS: &str = include_str!("../../config/default.toml");

/// What stands for the file in an error where everything is set in the environment.
const NO_FILE: &str = "the environment";

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
    /// What the environment was perhaps to say, and does not.
    pub(super) strays: Vec<Problem>,
    /// Without the environment.
    below: Value,
    variables: Vec<Variable>,
}

impl Layers {
    /// Names the layer that set a key, for an error about it: the variable that set it, or where there would be nothing at
    /// all of the kind without the environment, the variables that set what there is.
    pub(super) fn origin(&self, key: &str) -> String {
        let whole: Vec<&str> = key.split(['.', '[', ']']).filter(|part| !part.is_empty()).collect();
        let sets_it = |variable: &&Variable| {
            variable.path.len() <= whole.len() && variable.path.iter().zip(&whole).all(|(one, other)| one == other)
        };
        if let Some(variable) = self.variables.iter().find(sets_it) {
            return environment::origin(&variable.name);
        }
        let mut below = Some(&self.below);
        for length in 1..=whole.len() {
            let path = &whole[..length];
            below = below.and_then(|below| below.get(path[length - 1]));
            let of_path: Vec<_> = self.variables.iter().filter(|variable| begins(&variable.path, path)).collect();
            match of_path[..] {
                [] => break,
                _ if below.is_some_and(Value::is_object) => {}
                [only] => return environment::origin(&only.name),
                _ => return environment::origin_of_table(path),
            }
        }
        self.file.clone()
    }
}

fn begins(path: &[String], with: &[&str]) -> bool {
    path.len() >= with.len() && path.iter().zip(with).all(|(one, other)| one == other)
}

/// How a file was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    /// By its name.
    Named,
    /// In the working folder, whoever has put it there.
    Here,
    /// Where the administrator puts it.
    InEtc,
}

/// Finds the file: as given, `$INBOXD_CONFIG`, `./inboxd.toml`, `/etc/inboxd/inboxd.toml`; `None` where there is none.
fn find(given: Option<&Path>) -> Result<Option<(PathBuf, Found)>, Problem> {
    let named = |origin: &str, path: PathBuf| match crate::settings::file_problem(&path) {
        Some(problem) => Err(Problem { origin: origin.into(), ..Problem::new("", problem) }),
        None => Ok(Some((path, Found::Named))),
    };
    if let Some(path) = given {
        return named("--config", path.to_owned());
    }
    // Set to nothing is how compose and systemd pass on what is not set.
    let is_set = |path: &std::ffi::OsString| path.to_str().is_none_or(|path| !path.trim().is_empty());
    if let Some(path) = std::env::var_os("INBOXD_CONFIG").filter(is_set) {
        return named(&environment::origin("INBOXD_CONFIG"), path.into());
    }
    let places = [(Path::new("inboxd.toml"), Found::Here), (Path::new("/etc/inboxd/inboxd.toml"), Found::InEtc)];
    Ok(places.into_iter().find(|(path, _)| path.exists()).map(|(path, found)| (path.to_owned(), found)))
}

/// Refuses a file that another user could have written: it says which programs are run and where credentials are sent.
/// Of a file that is named, or that lies where only an administrator writes, somebody has chosen the owner.
fn check_writers(path: &Path, found: Found, warnings: &mut Vec<Problem>) -> Result<(), Problem> {
    let Ok(metadata) = std::fs::metadata(path) else { return Ok(()) };
    if metadata.is_file()
        && let Err(refused) = check_place(path, None)
    {
        let problem = format!("could be another's: {refused}");
        // Of a file that is named somebody has chosen the folder, as of one in a home where sudo is used.
        match refused.is_by_owner && found != Found::Here {
            true => warnings.push(Problem::new("", problem)),
            false => return Err(Problem::unreadable("", problem)),
        }
    }
    match (Strangers::of(&metadata), found) {
        (Strangers::Own, Found::Named | Found::InEtc) => {
            let owner = metadata.uid();
            warnings.push(Problem::new(
                "",
                format!("belongs to another user (uid {owner}), who decides what this daemon does"),
            ));
            Ok(())
        }
        (strangers, _) => match strangers.may_have_written(path) {
            Some(problem) => Err(Problem::unreadable("", problem)),
            None => Ok(()),
        },
    }
}

/// Warns of a file that everybody can read and that has credentials in it.
fn check_readers(path: &Path, tree: &Value, warnings: &mut Vec<Problem>) {
    let is_read = std::fs::metadata(path).is_ok_and(|found| Strangers::of(&found) == Strangers::Read);
    if is_read && super::show::has_written_secrets(tree) {
        let path = path.display();
        warnings.push(Problem::new("", format!(
            "is readable by every user of this machine and has credentials in it; run: chmod 600 {path}, or keep them elsewhere \
             and write ${{file:/path}}"
        )));
    }
}

fn nothing_found() -> Problem {
    Problem::new(
        "",
        "no configuration found: looked for ./inboxd.toml and /etc/inboxd/inboxd.toml; begin with \
         \"inboxd init linkedapi > inboxd.toml\", name a file with --config, or set all keys in the environment",
    )
}

/// Reads and merges all layers.
pub(super) fn read(sources: &Sources) -> Result<Layers, Vec<Problem>> {
    let found = find(sources.file.as_deref()).map_err(|problem| vec![problem])?;
    let mut warnings = Vec::new();
    let (path, how) = found.map_or((None, Found::Named), |(path, how)| (Some(path), how));
    if path.is_none() && !environment::sets_any(std::env::vars_os()) {
        return Err(vec![nothing_found()]);
    }
    let file = path.as_ref().map_or_else(|| NO_FILE.to_owned(), |path| path.display().to_string());
    let at_file = |problem: Problem| vec![Problem { origin: file.clone(), ..problem }];
    let (text, format) = match &path {
        Some(path) => {
            check_writers(path, how, &mut warnings).map_err(at_file)?;
            let bytes = syntax::read_in_time(path).map_err(|e| at_file(not_read(&e)))?;
            let text = syntax::text_of(bytes).map_err(|message| at_file(Problem::new("", message)))?;
            (text, syntax::format_of(path))
        }
        None => (String::new(), FileFormat::Toml),
    };
    let below = over_defaults(&text, format).map_err(at_file)?;
    if let Some(path) = &path {
        check_readers(path, &below, &mut warnings);
    }
    let variables = environment::variables(std::env::vars_os())?;
    let mut merged = below.clone();
    environment::lay_over(&mut merged, &variables);
    for (key, value) in &sources.overrides {
        environment::set(&mut merged, key.split('.'), value);
    }
    let names = std::env::vars_os().map(|(name, _)| name);
    let mut strays = environment::strays(names, super::SECTIONS, &text);
    strays.extend(warnings.into_iter().map(|warning| Problem { origin: file.clone(), ..warning }));
    Ok(Layers { merged, file, strays, below, variables })
}

/// The text of a file laid over the defaults.
fn over_defaults(text: &str, format: FileFormat) -> Result<Value, Problem> {
    syntax::check(text, format)?;
    let defaults = File::from_str(DEFAULTS, FileFormat::Toml);
    tree(Config::builder().add_source(defaults).add_source(File::from_str(text, format)))
}

/// The text of a file alone, without what the environment says.
#[cfg(any(test, fuzzing))]
pub(super) fn of_text(text: &str, format: FileFormat) -> Result<Layers, Vec<Problem>> {
    let merged = over_defaults(text, format).map_err(|problem| vec![problem])?;
    let (below, file) = (merged.clone(), "inboxd.toml".to_owned());
    Ok(Layers { merged, file, strays: vec![], below, variables: vec![] })
}

fn tree(builder: config::ConfigBuilder<config::builder::DefaultState>) -> Result<Value, Problem> {
    // The parser's own message may quote the text, and with it a secret; syntax was checked before.
    let refused = |_| Problem::new("", "cannot be read as a table of keys");
    builder.build().map_err(refused)?.try_deserialize().map_err(refused)
}

fn not_read(error: &std::io::Error) -> Problem {
    match error.kind() {
        std::io::ErrorKind::NotFound => Problem::new("", "does not exist"),
        _ => Problem::unreadable("", format!("cannot be read: {error}")),
    }
}
