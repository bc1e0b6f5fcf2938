//! The admin API: organisations, their members, registries and what is in them, accounts, the audit
//! trail and housekeeping, as JSON for tools and for a web page.
//!
//! **Promises.** All that is served stands in one table ([`routes::Route`]): what a route demands of
//! its caller is enforced where all routes meet, before its handler runs, and its description
//! (OpenAPI 3.1, at `/api/v1/openapi.json`) is made of the same table. What a caller may not see answers
//! as what is not there. Errors are problems (RFC 9457) that name the field. A creation with an
//! `Idempotency-Key` is done once.
//!
//! **Never.** It takes a field or a parameter that it does not declare, decides no authorisation
//! itself, and gives no content away.

#![forbid(unsafe_code)]

mod accounts;
mod gate;
mod idempotency;
mod input;
mod jobs;
mod model;
mod openapi;
mod organisations;
mod problem;
mod python;
mod record;
mod registries;
mod reply;
mod repositories;
pub mod routes;
mod trail;
mod turns;
mod webhooks;
mod workloads;

use std::fmt;
use std::sync::Arc;

use http::{Method, Request, Response};
use strongroom_engine::access::{Caller, PrincipalId};
use strongroom_engine::extension::Extension;
use strongroom_engine::seam::Entropy;
use strongroom_engine::{Engine, Error};
use strongroom_http::server::Refusal;
use strongroom_http::{Body, Handler, RequestBody, RequestContext};
use strongroom_identity::founders::Founders;
use strongroom_identity::workload::Workloads;
use strongroom_identity::{Embedded, IdentityProvider};
use strongroom_pypi::manage::Manager;
use strongroom_pypi::upstream::Upstreams;
use strongroom_webhooks::Webhooks;

use crate::idempotency::Shown;
use crate::input::{Input, MAX_BODY};
use crate::jobs::Jobs;
use crate::problem::{Kind, Problem};
use crate::reply::{Reply, is_conditional};
use crate::routes::{Route, RouteError};
use crate::turns::Turn;

/// The namespace of the engine's records that is ours.
pub const NAMESPACE: &str = "admin";

/// The service: a [`Handler`] of all paths under `/api/v1`.
#[derive(Clone)]
pub struct Admin(Arc<Inner>);

struct Inner {
    engine: Engine,
    identity: Arc<dyn IdentityProvider>,
    accounts: Embedded,
    workloads: Workloads,
    webhooks: Webhooks,
    founders: Founders,
    records: Extension,
    entropy: Arc<dyn Entropy>,
    jobs: Jobs,
    python: Manager,
    upstreams: Upstreams,
}

/// What the API is a face of.
#[derive(Debug)]
pub struct Parts {
    /// Tenants and content.
    pub engine: Engine,
    /// Who vouches for callers.
    pub identity: Arc<dyn IdentityProvider>,
    /// The accounts, robots and tokens that are kept here, whoever vouches for people.
    pub accounts: Embedded,
    /// Rules for runs of CI.
    pub workloads: Workloads,
    /// What is told to addresses of registries' admins.
    pub webhooks: Webhooks,
    /// Organisations that people make by themselves.
    pub founders: Founders,
    /// What registries fetch Python packages from.
    pub upstreams: Upstreams,
    /// Where ids of jobs come from.
    pub entropy: Arc<dyn Entropy>,
}

impl fmt::Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admin").finish_non_exhaustive()
    }
}

/// A request that came through the gate.
pub(crate) struct Asked {
    pub(crate) caller: Caller,
    pub(crate) input: Input,
}

impl Admin {
    /// Serves these parts.
    pub fn new(parts: Parts) -> Self {
        let Parts { engine, identity, accounts, workloads, webhooks, founders, upstreams, entropy } =
            parts;
        let records = engine.extension(NAMESPACE);
        let (jobs, python) = (Jobs::default(), Manager::new(&engine));
        Self(Arc::new(Inner {
            engine,
            identity,
            accounts,
            workloads,
            webhooks,
            founders,
            records,
            entropy,
            jobs,
            python,
            upstreams,
        }))
    }

    /// Whether a path belongs to this API, for a router above.
    pub fn owns(path: &str) -> bool {
        path == routes::BASE
            || path.strip_prefix(routes::BASE).is_some_and(|rest| rest.starts_with('/'))
    }

    /// Removes records that are over: to be called now and then (each hour does).
    #[expect(clippy::missing_panics_doc, reason = "it never does")]
    pub async fn sweep(&self) -> Result<(), Error> {
        let id = PrincipalId::new("system:admin").expect("it is short and printable");
        idempotency::sweep(&self.0.records, &Caller::known(id)).await
    }

    async fn answer(
        &self,
        request: Request<RequestBody>,
        context: &RequestContext,
    ) -> Result<Response<Body>, Problem> {
        let (parts, body) = request.into_parts();
        let found = routes::find(&parts.method, parts.uri.path());
        context.set_route(found.as_ref().map_or("admin_none", |(route, _)| route.label()));
        let (route, places) = found.map_err(|error| match error {
            RouteError::Nothing => {
                Problem::new(Kind::NotFound, "there is no such endpoint; see /api/v1/openapi.json")
            }
            RouteError::Method(allowed) => Problem::method(&allowed),
        })?;
        let spec = route.spec();
        let caller = self.authenticate(&spec, &parts.headers, context).await?;
        let query = parts.uri.query().unwrap_or_default();
        let input = Input::new(&spec, places, query, parts.headers)?;
        self.demand(&spec, &caller, &input, context).await?;
        let mut asked = Asked { caller, input };
        if spec.body.is_some() {
            asked.input.body = body.collect_limited(MAX_BODY).await?;
        }
        let headers = asked.input.headers.clone();
        let changes = spec.tagged && spec.method != http::Method::GET;
        let reply = if spec.creates {
            self.create(route, asked, parts.uri.path()).await?
        } else if changes && is_conditional(&headers) {
            self.in_turn(route, asked).await?
        } else {
            self.dispatch(route, asked).await?
        };
        Ok(reply.into_response(&spec, &headers))
    }

    /// Makes something, once for each `Idempotency-Key`.
    async fn create(&self, route: Route, asked: Asked, path: &str) -> Result<Reply, Problem> {
        let Some(key) = idempotency::key(&asked.input.headers)? else {
            return self.dispatch(route, asked).await;
        };
        let (records, by) = (self.0.records.clone(), asked.caller.clone());
        let said = (path, asked.input.body.as_ref());
        let claim = match idempotency::claim(&records, &by, key, route.id(), said).await? {
            Shown::Answered(body) => return Ok(Reply::Json(body)),
            Shown::Claimed(claim) => claim,
        };
        let admin = self.clone();
        // Of its own: a client that leaves must not leave it half done and claimed.
        let work = tokio::spawn(async move {
            let made = admin.dispatch(route, asked).await;
            let kept = match &made {
                Ok(Reply::Json(body)) => {
                    claim.answered(&records, &by, body, is_secret(route)).await
                }
                Ok(Reply::Empty | Reply::Lines(_)) | Err(_) => claim.failed(&records, &by).await,
            };
            if let Err(error) = kept {
                // It ends by itself; until then the same key is told to wait.
                tracing::warn!(%error, "what came of an Idempotency-Key could not be kept");
            }
            made
        });
        work.await.unwrap_or_else(|error| {
            tracing::error!(%error, "a creation ended without an answer");
            Err(Problem::new(Kind::Broken, "the request failed inside the server"))
        })
    }

    /// Changes something that the client saw, while nobody else does.
    async fn in_turn(&self, route: Route, asked: Asked) -> Result<Reply, Problem> {
        let admin = self.clone();
        let mut name = [0; 16];
        self.0.entropy.fill(&mut name);
        let turn =
            Turn::take(&self.0.records, &asked.input.places, const_hex::encode(name)).await?;
        // Of its own: a client that leaves must not leave others waiting.
        let work = tokio::spawn(async move {
            let done = admin.dispatch(route, asked).await;
            turn.give_back(&admin.0.records).await;
            done
        });
        work.await.unwrap_or_else(|error| {
            tracing::error!(%error, "a change ended without an answer");
            Err(Problem::new(Kind::Broken, "the request failed inside the server"))
        })
    }

    async fn dispatch(&self, route: Route, asked: Asked) -> Result<Reply, Problem> {
        let Asked { caller, input } = &asked;
        match route {
            Route::Describe => Ok(Reply::Json(openapi::description().as_bytes().to_vec())),
            Route::Me => Ok(organisations::me(caller)),
            Route::ListOrganisations => self.list_organisations(caller, input).await,
            Route::CreateOrganisation => self.create_organisation(caller, input).await,
            Route::GetOrganisation => self.get_organisation(caller, input).await,
            Route::RenameOrganisation => self.rename_organisation(caller, input).await,
            Route::SetQuota => self.set_quota(caller, input).await,
            Route::DeleteOrganisation => self.delete_organisation(caller, input).await,
            Route::OrganisationUsage => self.organisation_usage(caller, input).await,
            Route::ListMembers => self.list_members(caller, input).await,
            Route::InviteMember => self.invite_member(caller, input).await,
            Route::GetMember => self.get_member(caller, input).await,
            Route::SetMemberRole => self.set_member_role(caller, input).await,
            Route::RemoveMember => self.remove_member(caller, input).await,
            Route::ListRegistries => self.list_registries(caller, input).await,
            Route::CreateRegistry => self.create_registry(caller, input).await,
            Route::GetRegistry => self.get_registry(caller, input).await,
            Route::UpdateRegistry => self.update_registry(caller, input).await,
            Route::RenameRegistry => self.rename_registry(caller, input).await,
            Route::DeleteRegistry => self.delete_registry(caller, input).await,
            Route::RegistryUsage => self.registry_usage(caller, input).await,
            Route::SetRegistryRole => self.set_registry_role(caller, input).await,
            Route::RemoveRegistryRole => self.remove_registry_role(caller, input).await,
            Route::PreviewRetention => self.preview_retention(caller, input).await,
            Route::ListWebhooks => self.list_webhooks(caller, input).await,
            Route::CreateWebhook => self.create_webhook(caller, input).await,
            Route::GetWebhook => self.get_webhook(caller, input).await,
            Route::UpdateWebhook => self.update_webhook(caller, input).await,
            Route::RotateWebhookSecret => self.rotate_webhook_secret(caller, input).await,
            Route::DeleteWebhook => self.delete_webhook(caller, input).await,
            Route::TestWebhook => self.test_webhook(caller, input).await,
            Route::ListDeliveries => self.list_deliveries(caller, input).await,
            Route::ListWorkloadIssuers => self.list_workload_issuers(input),
            Route::ListWorkloadRules => self.list_workload_rules(caller, input).await,
            Route::CreateWorkloadRule => self.create_workload_rule(caller, input).await,
            Route::GetWorkloadRule => self.get_workload_rule(caller, input).await,
            Route::DeleteWorkloadRule => self.delete_workload_rule(caller, input).await,
            Route::ListRepositories => self.list_repositories(caller, input).await,
            Route::DeleteRepository => self.delete_repository(caller, input).await,
            Route::ListTags => self.list_tags(caller, input).await,
            Route::GetTag => self.get_tag(caller, input).await,
            Route::ListManifests => self.list_manifests(caller, input).await,
            Route::DeleteTag => self.delete_tag(caller, input).await,
            Route::GetManifest => self.get_manifest(caller, input).await,
            Route::DeleteManifest => self.delete_manifest(caller, input).await,
            Route::ListReferrers => self.list_referrers(caller, input).await,
            Route::GetPythonUpstream => self.get_python_upstream(caller, input).await,
            Route::SetPythonUpstream => self.set_python_upstream(caller, input).await,
            Route::RemovePythonUpstream => self.remove_python_upstream(caller, input).await,
            Route::GetPythonProject => self.get_python_project(caller, input).await,
            Route::SetPythonStatus => self.set_python_status(caller, input).await,
            Route::SetPythonLocations => self.set_python_locations(caller, input).await,
            Route::YankPythonProject | Route::YankPythonVersion | Route::YankPythonFile => {
                self.yank_python(caller, input).await
            }
            Route::DeletePythonProject | Route::DeletePythonVersion | Route::DeletePythonFile => {
                self.delete_python(caller, input).await
            }
            Route::ListRobots => self.list_robots(caller, input).await,
            Route::CreateRobot => self.create_robot(caller, input).await,
            Route::GetRobot => self.get_robot(caller, input).await,
            Route::DisableRobot => self.disable_robot(caller, input).await,
            Route::DeleteRobot => self.delete_robot(caller, input).await,
            Route::ListRobotTokens => self.list_robot_tokens(caller, input).await,
            Route::CreateRobotToken => self.create_robot_token(caller, input).await,
            Route::RevokeRobotToken => self.revoke_robot_token(caller, input).await,
            Route::ListMyTokens => self.list_my_tokens(caller, input).await,
            Route::CreateMyToken => self.create_my_token(caller, input).await,
            Route::RevokeMyToken => self.revoke_my_token(caller, input).await,
            Route::ListUsers => self.list_users(caller, input).await,
            Route::CreateUser => self.create_user(caller, input).await,
            Route::GetUser => self.get_user(caller, input).await,
            Route::DisableUser => self.disable_user(caller, input).await,
            Route::SetOperator => self.set_operator(caller, input).await,
            Route::SetPassword => self.set_password(caller, input).await,
            Route::DeleteUser => self.delete_user(caller, input).await,
            Route::ListTrail | Route::ListSystemTrail => self.list_trail(caller, input).await,
            Route::ExportTrail | Route::ExportSystemTrail => self.export_trail(caller, input).await,
            Route::ListJobs => {
                let after = input.cursor()?;
                Ok(Reply::page::<_, model::Job>(self.0.jobs.list(after.as_deref(), input.limit())))
            }
            Route::StartJob => {
                let mut id = [0; 8];
                self.0.entropy.fill(&mut id);
                let (records, id) = (&self.0.records, const_hex::encode(id));
                let new = input.json()?;
                let job = self.0.jobs.start(&self.0.engine, records, caller, id, new).await?;
                Ok(Reply::json(&job))
            }
            Route::GetJob => Ok(Reply::json(&self.0.jobs.get(input.text("job"))?)),
            Route::StopJob => {
                self.0.jobs.stop(&self.0.records, caller, input.text("job")).await?;
                Ok(Reply::Empty)
            }
        }
    }
}

/// Whether what a route answers must be kept nowhere.
fn is_secret(route: Route) -> bool {
    matches!(route, Route::CreateMyToken | Route::CreateRobotToken | Route::CreateWebhook)
}

impl Handler for Admin {
    fn refuse(&self, _: &str, refusal: Refusal) -> Response<Body> {
        Problem::from(refusal).into_response()
    }

    async fn handle(
        &self,
        request: Request<RequestBody>,
        context: Arc<RequestContext>,
    ) -> Response<Body> {
        let head = request.method() == Method::HEAD;
        let mut response =
            self.answer(request, &context).await.unwrap_or_else(Problem::into_response);
        if head {
            Body::leave_out(&mut response);
        }
        response
    }
}
