//! Signing in at a server, and the file that remembers it: `strongroom/servers.json` in the user's
//! folder of settings, of mode 0600, with a token for each server and never a password.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use http::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use strongroom_http::auth::Secret;

use super::client::{Client, SignIn};
use super::{Reach, ServerUrl, secret};
use crate::failure::Failure;
use crate::ops::{Hidden, Outcome};

/// How long the token of a sign-in lives, in seconds: 90 days.
const LIFE: u64 = 90 * 24 * 60 * 60;

/// What is remembered of a server.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Remembered {
    username: String,
    token_id: String,
    token: Hidden,
}

/// A caller who is signed in.
pub(super) struct Session {
    pub(super) client: Client,
    pub(super) username: String,
}

type Servers = BTreeMap<String, Remembered>;

fn file() -> Result<PathBuf, Failure> {
    let folder = |name| std::env::var_os(name).filter(|text| !text.is_empty()).map(PathBuf::from);
    let home = || folder("HOME").map(|home| home.join(".config"));
    let settings = folder("XDG_CONFIG_HOME").or_else(home);
    let settings =
        settings.ok_or_else(|| Failure::usage("there is no HOME to remember a sign-in in"))?;
    Ok(settings.join("strongroom").join("servers.json"))
}

fn read(file: &Path) -> Result<Servers, Failure> {
    let shown = file.display();
    match fs::metadata(file) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Servers::new()),
        Err(error) => return Err(Failure::failed(format!("can't read {shown}: {error}"))),
        Ok(metadata) if metadata.permissions().mode() & 0o077 != 0 => {
            let why =
                format!("{shown} has tokens, and others can read it: chmod 600 it, or log in anew");
            return Err(Failure::failed(why));
        }
        Ok(_) => {}
    }
    let text =
        fs::read(file).map_err(|error| Failure::failed(format!("can't read {shown}: {error}")))?;
    serde_json::from_slice(&text)
        .map_err(|_| Failure::failed(format!("{shown} can't be read; remove it, and log in anew")))
}

/// Writes beside, and then over: a kill leaves the one or the other.
fn write(file: &Path, servers: &Servers) -> Result<(), Failure> {
    let failed =
        |error: std::io::Error| Failure::failed(format!("can't write {}: {error}", file.display()));
    if let Some(folder) = file.parent() {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
    }
    let new = file.with_extension(format!("{}.new", std::process::id()));
    let mut into = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&new)
        .map_err(failed)?;
    let text = serde_json::to_vec_pretty(servers).map_err(|error| failed(error.into()))?;
    let written = into.write_all(&text).and_then(|()| into.sync_all());
    let written = written.and_then(|()| fs::rename(&new, file));
    if written.is_err() {
        // The failure is told below; a left file has no name that is read.
        let _left = fs::remove_file(&new);
    }
    written.map_err(failed)
}

fn unknown(server: &ServerUrl) -> Failure {
    Failure::usage(format!(
        "nobody is signed in at {server}; do it with `strongroom --server {server} login`"
    ))
}

/// Trades a password for a token, and remembers that.
pub(super) async fn login(reach: &Reach, username: Option<String>) -> Result<Outcome, Failure> {
    let (server, file) = (&reach.server, file()?);
    let mut servers = read(&file)?;
    let remembered = servers.get(&server.to_string()).map(|known| known.username.clone());
    let username = username.or(remembered);
    let username =
        username.ok_or_else(|| Failure::usage("say who you are with --username NAME"))?;
    let password = secret::password(&format!("password of {username} at {server}: "))?;
    let client = Client::new(server, &SignIn::Password { username: username.clone(), password })?;
    let new = json!({ "label": "strongroom command line", "expires_in_seconds": LIFE });
    let made = client.send(Method::POST, "/tokens", Some(&new)).await?;
    let text = |at| made.pointer(at).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (token, token_id) = (Hidden(text("/token")), text("/info/id"));
    let known = Remembered { username: username.clone(), token_id, token };
    servers.insert(server.to_string(), known);
    write(&file, &servers)?;
    let json = json!({ "server": server.to_string(), "username": username });
    Ok(Outcome::new(format!("{username} is signed in at {server}, for 90 days\n"), json))
}

/// Forgets a sign-in; with the password its token ends at the server, too.
pub(super) async fn logout(reach: &Reach) -> Result<Outcome, Failure> {
    let (server, file) = (&reach.server, file()?);
    let mut servers = read(&file)?;
    let known = servers.remove(&server.to_string()).ok_or_else(|| unknown(server))?;
    let Remembered { username, token_id, .. } = known;
    if reach.ask_password {
        let password = secret::password(&format!("password of {username} at {server}: "))?;
        let client = Client::new(server, &SignIn::Password { username, password })?;
        let ended = client.send(Method::DELETE, &format!("/tokens/{token_id}"), None).await;
        match ended {
            Err(refused) if refused.kind != "not-found" => return Err(refused.into()),
            _ => {}
        }
    }
    write(&file, &servers)?;
    let text = if reach.ask_password {
        format!("signed out of {server}\n")
    } else {
        format!(
            "the sign-in at {server} is forgotten here; its token {token_id} stands there until you end it \
             (`token revoke {token_id} --ask-password`)\n"
        )
    };
    Ok(Outcome::new(text, json!({ "server": server.to_string(), "token_id": token_id })))
}

/// Who signed in at the server before; with the password, where that is asked for.
pub(super) fn session(reach: &Reach) -> Result<Session, Failure> {
    let server = &reach.server;
    let mut servers = read(&file()?)?;
    let known = servers.remove(&server.to_string()).ok_or_else(|| unknown(server))?;
    let username = known.username;
    let sign_in = if reach.ask_password {
        let password = secret::password(&format!("password of {username} at {server}: "))?;
        SignIn::Password { username: username.clone(), password }
    } else {
        SignIn::Token(Secret::new(known.token.0))
    };
    Ok(Session { client: Client::new(server, &sign_in)?, username })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threat_c25_the_file_of_tokens_is_its_owners_alone() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("strongroom").join("servers.json");
        assert!(read(&file).unwrap().is_empty());
        let known = Remembered {
            username: "ann".to_owned(),
            token_id: "00".to_owned(),
            token: Hidden("srt_x".to_owned()),
        };
        write(&file, &Servers::from([("https://a".to_owned(), known)])).unwrap();
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(read(&file).unwrap()["https://a"].token.0, "srt_x");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(read(&file).is_err());
    }
}
