//! `entry_points.txt`: sections of `name = value`, since installers make programs of them.

use std::collections::HashSet;

use crate::archive::ArchiveError;
use crate::quote::quote;

/// The sections that become programs.
const SCRIPTS: &[&str] = &["console_scripts", "gui_scripts"];

pub(super) fn check(bytes: &[u8]) -> Result<(), ArchiveError> {
    read(bytes).map_err(|reason| ArchiveError::EntryPoints { reason })
}

fn read(bytes: &[u8]) -> Result<(), String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "it is not UTF-8".to_owned())?;
    let mut sections = HashSet::new();
    let mut section: Option<&str> = None;
    let mut names = HashSet::new();
    for line in text.lines() {
        let content = line.trim();
        if content.is_empty() || content.starts_with(['#', ';']) {
            continue;
        }
        if content.chars().any(char::is_control) {
            return Err(format!("the line {} has a control character", quote(line)));
        }
        // A deeper line goes on with the value before it; values of programs have one line.
        if line.starts_with([' ', '\t']) && !names.is_empty() {
            if section.is_some_and(|name| SCRIPTS.contains(&name)) {
                return Err(format!("the line {} is indented", quote(line)));
            }
            continue;
        }
        if let Some(rest) = content.strip_prefix('[') {
            let name = rest
                .strip_suffix(']')
                .filter(|name| !name.is_empty() && !name.contains(']'))
                .ok_or_else(|| format!("the line {} is no section", quote(line)))?;
            if !sections.insert(name) {
                return Err(format!("the section {} is there twice", quote(name)));
            }
            section = Some(name);
            names.clear();
            continue;
        }
        let Some(section) = section else {
            return Err(format!("the line {} is in no section", quote(line)));
        };
        let (name, value) = content
            .split_once('=')
            .map(|(name, value)| (name.trim(), value.trim()))
            .filter(|(name, _)| !name.is_empty())
            .ok_or_else(|| format!("the line {} is not name = value", quote(line)))?;
        if !names.insert(name) {
            return Err(format!("the name {} is there twice in {}", quote(name), quote(section)));
        }
        if SCRIPTS.contains(&section) {
            script(section, name, value)?;
        }
    }
    Ok(())
}

/// The name becomes a file's name; the value code that imports a module and calls something in it.
fn script(section: &str, name: &str, value: &str) -> Result<(), String> {
    let in_name = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.');
    if !name.chars().all(in_name) || [".", ".."].contains(&name) {
        return Err(format!("{} in {} is no program's name", quote(name), quote(section)));
    }
    let object = value.split('[').next().unwrap_or_default().trim();
    let in_object = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | ':' | ' ');
    if object.is_empty() || !object.chars().all(in_object) || object.matches(':').count() > 1 {
        return Err(format!("{} in {} is not module:function", quote(value), quote(section)));
    }
    Ok(())
}
