//! Requests to the API over what the house has, and their answers.

use std::net::Ipv4Addr;

use base64::Engine as _;
use bytes::Bytes;
use http::{Request, StatusCode};
use serde_json::{Value, json};
use strongroom_admin::routes::{BASE, Route};
pub(crate) use strongroom_http::testing::Answer;
use strongroom_http::testing::context;
use strongroom_http::{Handler, RequestBody};
use strongroom_identity::testing;

use super::{HOOK, House, INDEX, PASSWORD, WHEEL, digest};

impl House {
    fn authorization(&self, caller: &str) -> Option<String> {
        let basic = |name: &str, password: &str| {
            let pair = format!("{name}:{password}");
            Some(format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair)))
        };
        match caller {
            "anonymous" => None,
            "run" => Some(format!("Bearer {}", self.run)),
            "pooled" => basic(caller, testing::PASSWORD),
            token if token.starts_with("srt_") => Some(format!("Bearer {token}")),
            name => basic(name, PASSWORD),
        }
    }

    /// The path of a route, with what is there, as `caller` asks for it.
    pub(crate) fn path(&self, route: Route, caller: &str) -> String {
        let spec = route.spec();
        let robots = spec.path.contains("{robot}");
        let owner = if robots { "robot:acme+ci".to_owned() } else { format!("user:{caller}") };
        let token = self.tokens.get(&owner).map_or("0000000000000000", String::as_str);
        let path = spec
            .path
            .replace("{organisation}", "acme")
            .replace("{registry}", "main")
            .replace("{repository}", "api")
            .replace("{tag}", "v1")
            .replace("{digest}", &digest(INDEX))
            .replace("{principal}", "user:guest")
            .replace("{robot}", "acme+ci")
            .replace("{user}", "carl")
            .replace("{rule}", &self.rules[0])
            .replace("{webhook}", &self.hooks[0])
            .replace("{project}", "sample")
            .replace("{version}", "1.0")
            .replace("{file}", WHEEL)
            .replace("{token}", token);
        let force = spec.query.iter().any(|param| param.name == "force");
        format!("{BASE}{path}{}", if force { "?force=true" } else { "" })
    }

    pub(crate) async fn send(&self, ask: Ask<'_>) -> Answer {
        let mut request = Request::builder().method(ask.method).uri(ask.path);
        if let Some(authorization) = self.authorization(ask.caller) {
            request = request.header("authorization", authorization);
        }
        for (name, value) in &ask.headers {
            request = request.header(*name, value.as_str());
        }
        let bytes = ask.body.as_ref().map(|body| match body {
            Value::String(raw) => raw.clone(),
            body => body.to_string(),
        });
        if bytes.is_some() && !ask.headers.iter().any(|(name, _)| *name == "content-type") {
            request = request.header("content-type", "application/json");
        }
        let pieces = bytes.into_iter().map(|bytes| Ok(Bytes::from(bytes)));
        let body = RequestBody::from_stream(futures::stream::iter(pieces.collect::<Vec<_>>()));
        let request = request.body(body).unwrap();
        let context = context((Ipv4Addr::LOCALHOST, 1), Some("registry.test"));
        Answer::of(self.admin.handle(request, context).await).await
    }

    /// A request of a route, with what is there.
    pub(crate) async fn ask(&self, route: Route, caller: &str) -> Answer {
        let mut path = self.path(route, caller);
        if path.contains("{job}") {
            path = path.replace("{job}", &self.job().await);
        }
        let method = route.spec().method;
        self.send(Ask { body: body(route), ..Ask::new(method.as_str(), &path, caller) }).await
    }

    /// A job that was started.
    pub(crate) async fn job(&self) -> String {
        let started =
            self.ask_at("POST", "/jobs", "operator", Some(json!({"kind": "scrub"}))).await;
        if started.status == StatusCode::CREATED {
            return started.json()["id"].as_str().unwrap().to_owned();
        }
        let jobs = self.ask_at("GET", "/jobs", "operator", None).await;
        jobs.json()["items"][0]["id"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn ask_at(
        &self,
        method: &str,
        path: &str,
        caller: &str,
        body: Option<Value>,
    ) -> Answer {
        let path = format!("{BASE}{path}");
        self.send(Ask { body, ..Ask::new(method, &path, caller) }).await
    }
}

/// A request that is put together. `caller` is a name, or a token.
pub(crate) struct Ask<'a> {
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    pub(crate) caller: &'a str,
    pub(crate) headers: Vec<(&'static str, String)>,
    /// A string is sent as it is.
    pub(crate) body: Option<Value>,
}

impl<'a> Ask<'a> {
    pub(crate) fn new(method: &'a str, path: &'a str, caller: &'a str) -> Self {
        Self { method, path, caller, headers: Vec::new(), body: None }
    }
}

/// A good body of a route that has one.
pub(crate) fn body(route: Route) -> Option<Value> {
    route.spec().body?;
    Some(match route {
        Route::CreateOrganisation | Route::CreateRobot => json!({ "name": "fresh" }),
        Route::CreateRegistry => json!({ "name": "fresh", "public": true }),
        Route::RenameOrganisation | Route::RenameRegistry => json!({ "name": "other" }),
        Route::SetQuota => json!({ "quota_bytes": 1_000_000 }),
        Route::InviteMember => json!({ "user": "free", "role": "viewer" }),
        Route::SetMemberRole | Route::SetRegistryRole => json!({ "role": "writer" }),
        Route::UpdateRegistry => json!({ "public": true }),
        Route::DisableRobot | Route::DisableUser => json!({ "disabled": true }),
        Route::CreateRobotToken | Route::CreateMyToken => json!({ "label": "x" }),
        Route::CreateUser => json!({ "name": "fresh", "password": "another horse" }),
        Route::SetOperator => json!({ "operator": true }),
        Route::SetPassword => json!({ "password": "another horse" }),
        Route::StartJob => json!({ "kind": "scrub" }),
        Route::SetPythonUpstream => json!({ "url": "https://index.example/simple/" }),
        Route::SetPythonStatus => json!({ "status": "deprecated", "reason": "old" }),
        Route::SetPythonLocations => json!({ "tracks": ["https://index.example/simple/sample/"] }),
        Route::YankPythonProject | Route::YankPythonVersion | Route::YankPythonFile => {
            json!({ "yanked": true, "reason": "broken" })
        }
        Route::CreateWebhook => json!({ "url": HOOK }),
        Route::UpdateWebhook => json!({ "enabled": false }),
        Route::CreateWorkloadRule => json!({
            "issuer": "ci", "audience": "strongroom", "claims": { "repository": "acme/web" },
            "actions": ["list", "pull", "push"],
        }),
        Route::PreviewRetention => json!({ "rules": [{ "tags": { "keep_last": 0 } }] }),
        other => panic!("{other:?} has a body that no test sends"),
    })
}

/// What the API's refusals have in common.
pub(crate) trait Refused {
    /// A problem of this kind.
    fn problem(&self, status: StatusCode, kind: &str) -> Value;
}

impl Refused for Answer {
    #[track_caller]
    fn problem(&self, status: StatusCode, kind: &str) -> Value {
        self.expect(status);
        assert_eq!(self.headers["content-type"], "application/problem+json", "{self:?}");
        let problem = self.json();
        assert_eq!(problem["type"], format!("urn:strongroom:problem:{kind}"), "{self:?}");
        assert_eq!(problem["status"], status.as_u16());
        problem
    }
}
