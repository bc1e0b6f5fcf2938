//! Laying the layers over each other.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::Config;
use super::check::check;
use super::keys::{self, KEYS, Kind};
use crate::failure::Failure;

/// What was given by flags.
#[derive(Debug, Clone, Default)]
pub(crate) struct Flags {
    pub(crate) config: Option<PathBuf>,
    pub(crate) data: Option<PathBuf>,
    pub(crate) listen: Option<SocketAddr>,
}

/// Reads all layers; `environment` is all of its variables.
pub(crate) fn load(
    flags: &Flags,
    environment: impl Iterator<Item = (String, String)>,
) -> Result<Config, Failure> {
    let environment: BTreeMap<_, _> =
        environment.filter(|(name, _)| name.starts_with(keys::PREFIX)).collect();
    let path = flags.config.clone().or_else(|| environment.get(keys::CONFIG).map(PathBuf::from));
    let mut table = match &path {
        Some(path) => from_file(path)?,
        None => Table::new(),
    };
    // Checked alone, so that an error tells which layer it is in.
    if let Some(path) = &path {
        settings(table.clone()).map_err(|why| bad(&path.display().to_string(), &why))?;
    }
    let from_environment = from_environment(&environment)?;
    settings(from_environment.clone()).map_err(|why| bad("the environment", &why))?;
    overlay(&mut table, from_environment);
    let mut config = settings(table).map_err(|why| bad("the settings", &why))?;
    if let Some(data) = &flags.data {
        config.data.clone_from(data);
    }
    if let Some(listen) = flags.listen {
        config.listen = listen;
    }
    check(&config)?;
    Ok(config)
}

fn bad(place: &str, why: &str) -> Failure {
    Failure::usage(format!("{place}: {why}"))
}

fn from_file(path: &Path) -> Result<Table, Failure> {
    let place = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|error| bad(&place, &error.to_string()))?;
    let table: Table = text.parse().map_err(|error: toml::de::Error| {
        bad(&place, &format!("this is no TOML: {}", error.to_string().trim_end()))
    })?;
    match unknown(&table, "") {
        Some(key) => {
            let sections = KEYS.iter().filter_map(|(key, _)| Some(key.split_once('.')?.0));
            let known = KEYS.iter().map(|(key, _)| *key).chain(sections).map(str::to_owned);
            Err(bad(&place, &unknown_key(&key, known)))
        }
        None => Ok(table),
    }
}

fn unknown_key(key: &str, known: impl Iterator<Item = String>) -> String {
    match keys::nearest(key, known) {
        Some(nearest) => format!("there is no setting {key}; did you mean {nearest}?"),
        None => format!("there is no setting {key}; `strongroom config check` lists all"),
    }
}

/// The first key of a table that is none.
fn unknown(table: &Table, above: &str) -> Option<String> {
    table.iter().find_map(|(name, value)| {
        let key = if above.is_empty() { name.clone() } else { format!("{above}.{name}") };
        if KEYS.iter().any(|(known, _)| *known == key) {
            return None;
        }
        let within = format!("{key}.");
        match value {
            Value::Table(table) if KEYS.iter().any(|(known, _)| known.starts_with(&within)) => {
                unknown(table, &key)
            }
            _ => Some(key),
        }
    })
}

fn from_environment(environment: &BTreeMap<String, String>) -> Result<Table, Failure> {
    let mut table = Table::new();
    for (name, text) in environment {
        if keys::OTHERS.contains(&name.as_str()) || keys::is_kubernetes(name) {
            continue;
        }
        let Some((key, kind)) = KEYS.iter().find(|(key, _)| keys::variable(key) == *name) else {
            let variables = KEYS.iter().map(|(key, _)| keys::variable(key));
            let known = variables.chain(keys::OTHERS.map(str::to_owned));
            return Err(bad("the environment", &unknown_key(name, known)));
        };
        let value = value(*kind, text).map_err(|what| {
            bad("the environment", &format!("{name} must be {what}, not {text:?}"))
        })?;
        match key.split_once('.') {
            None => drop(table.insert((*key).to_owned(), value)),
            Some((section, key)) => {
                let section = table.entry(section).or_insert_with(|| Table::new().into());
                if let Some(section) = section.as_table_mut() {
                    section.insert(key.to_owned(), value);
                }
            }
        }
    }
    Ok(table)
}

fn value(kind: Kind, text: &str) -> Result<Value, &'static str> {
    match kind {
        Kind::Text => Ok(text.into()),
        Kind::Number => text.parse::<i64>().map(Value::from).map_err(|_| "a number"),
        Kind::Flag => text.parse::<bool>().map(Value::from).map_err(|_| "true or false"),
        Kind::List => {
            let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
            Ok(items.map(Value::from).collect::<Vec<_>>().into())
        }
        Kind::Tables => Err("in the file of the settings: the environment can't hold tables"),
    }
}

fn overlay(below: &mut Table, above: Table) {
    for (key, value) in above {
        match (below.get_mut(&key), value) {
            (Some(Value::Table(below)), Value::Table(above)) => overlay(below, above),
            (_, value) => drop(below.insert(key, value)),
        }
    }
}

fn settings(table: Table) -> Result<Config, String> {
    table.try_into().map_err(|error: toml::de::Error| error.to_string().trim_end().to_owned())
}
