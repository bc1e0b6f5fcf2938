//! The verbs on Python projects, as requests to the API. They are done by whoever signed in.

use http::Method;
use serde_json::{Value, json};

use super::client::segment;
use super::login::Session;
use crate::failure::Failure;
use crate::ops::args::RegistryPath;
use crate::ops::{Hidden, Of, Outcome, PythonVerb, UpstreamVerb, Which, seconds, shown};

/// Runs one of them at the server.
pub(super) async fn python(session: &Session, verb: PythonVerb) -> Result<Outcome, Failure> {
    let client = &session.client;
    let put = async |path: String, body: Value| {
        client.send(Method::PUT, &path, Some(&body)).await.map_err(Failure::from)
    };
    match verb {
        PythonVerb::Yank { of, which, reason } => {
            let body = json!({ "yanked": true, "reason": reason });
            let project = put(format!("{}/yanked", files(&of, &which)?), body).await?;
            Ok(Outcome::new("yanked\n", project))
        }
        PythonVerb::Unyank { of, which } => {
            let path = format!("{}/yanked", files(&of, &which)?);
            let project = put(path, json!({ "yanked": false })).await?;
            Ok(Outcome::new("offered again\n", project))
        }
        PythonVerb::Delete { of, which } => {
            client.send(Method::DELETE, &files(&of, &which)?, None).await?;
            Ok(Outcome::new("deleted\n", json!({ "deleted": which })))
        }
        PythonVerb::Status { of, status, reason } => {
            let body = json!({ "status": status, "reason": reason });
            let project = put(format!("{}/status", at(&of)?), body).await?;
            Ok(Outcome::new("set\n", project))
        }
        PythonVerb::Locations { of, tracks, alternate } => {
            let body = json!({ "tracks": tracks, "alternate_locations": alternate });
            let project = put(format!("{}/locations", at(&of)?), body).await?;
            Ok(Outcome::new("set\n", project))
        }
        PythonVerb::Upstream(verb) => upstream(session, verb).await,
    }
}

async fn upstream(session: &Session, verb: UpstreamVerb) -> Result<Outcome, Failure> {
    let client = &session.client;
    match verb {
        UpstreamVerb::Set {
            path, url, allow, deny, cool_down, fresh, username, password, ..
        } => {
            let new = json!({
                "url": url,
                "allow": allow,
                "deny": deny,
                "cool_down_days": cool_down,
                "fresh_seconds": fresh.map(seconds),
                "username": username,
                "password": password.map(|Hidden(password)| password),
            });
            let set = client.send(Method::PUT, &upstream_of(&path), Some(&new)).await?;
            Ok(Outcome::new(format!("{path} fetches from {url}\n"), set))
        }
        UpstreamVerb::Show { path } => Ok(shown(client.get(&upstream_of(&path)).await?)),
        UpstreamVerb::Remove { path } => {
            client.send(Method::DELETE, &upstream_of(&path), None).await?;
            Ok(Outcome::new(format!("{path} fetches nothing\n"), json!({ "removed": path })))
        }
    }
}

fn registry(path: &RegistryPath) -> String {
    let (organisation, registry) = (segment(&path.organisation), segment(&path.registry));
    format!("/organisations/{organisation}/registries/{registry}/python")
}

fn upstream_of(path: &RegistryPath) -> String {
    format!("{}/upstream", registry(path))
}

/// Where a project is.
fn at(of: &Of) -> Result<String, Failure> {
    if of.who.is_some() {
        return Err(Failure::usage("at a server it is done by whoever signed in: leave --as out"));
    }
    Ok(format!("{}/projects/{}", registry(&of.path), segment(&of.project)))
}

/// Where the files of a project are that are meant.
fn files(of: &Of, which: &Which) -> Result<String, Failure> {
    let project = at(of)?;
    Ok(match (&which.version, &which.file) {
        (Some(version), _) => format!("{project}/versions/{}", segment(version)),
        (None, Some(file)) => format!("{project}/files/{}", segment(file)),
        (None, None) => project,
    })
}
