//! The one table: each route with its path, what it demands of its caller, what it takes and gives.
//!
//! Routing, the gate, the parsing of queries and bodies, the description and the tests all go by it. A
//! route without one of these does not compile. Paths are split at `/` before escapes are undone, so
//! a repository's name, which has slashes of its own, is one segment with `%2F` in it.

use http::{Method, StatusCode};
use strongroom_engine::access::Action::{Delete, List, Manage, Pull};
use strongroom_identity::Access::{self, Allowed, Open, Operator, SignedIn};

use crate::model as m;
use crate::openapi::{self, Shape, of, page};

/// Where the API is.
pub const BASE: &str = "/api/v1";

/// Who passes beside those whom the authorizer allows the action.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Also {
    /// Nobody.
    Nobody,
    /// Operators: they look after tenants, without seeing their content.
    Operators,
    /// A member whom the path names as `{principal}`.
    Oneself,
    /// People, where they may make organisations of their own.
    Founders,
}

/// What a value in a query is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Text of one line, at most so many bytes.
    Text(usize),
    /// A whole number from 1 to so many.
    Count(u64),
    /// `true` or `false`.
    Flag,
    /// One of these.
    OneOf(&'static [&'static str]),
    /// A moment, as RFC 3339 writes it.
    Time,
}

/// A parameter of a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Param {
    /// What it is called.
    pub name: &'static str,
    /// What its value is.
    pub kind: Kind,
    /// What it does.
    pub about: &'static str,
}

/// All there is to say of a route.
#[derive(Debug, Clone)]
pub struct Spec {
    /// The method; `GET` is also `HEAD`.
    pub method: Method,
    /// The path below [`BASE`], with `{names}` of what stands there.
    pub path: &'static str,
    /// What it demands of its caller.
    pub access: Access,
    /// Who else passes.
    pub also: Also,
    /// The status of success.
    pub status: StatusCode,
    /// The parameters of its query; others are refused.
    pub query: Vec<Param>,
    /// What its body is; it has none where absent.
    pub body: Option<Shape>,
    /// What it answers; nothing where absent.
    pub answer: Option<Shape>,
    /// Whether it makes something, so that it takes an `Idempotency-Key`.
    pub creates: bool,
    /// Whether the answer has an `ETag`, or the request may have an `If-Match`.
    pub tagged: bool,
}

const CURSOR: Param = Param {
    name: "cursor",
    kind: Kind::Text(4_096),
    about: "Where the page begins: `next` of the page before. It is opaque.",
};
const LIMIT: Param = Param {
    name: "limit",
    kind: Kind::Count(MAX_LIMIT),
    about: "The most items of the page. A page may have fewer and not be the last.",
};
const PREFIX: Param =
    Param { name: "prefix", kind: Kind::Text(255), about: "Only those whose name begins so." };
const SEARCH: Param =
    Param { name: "search", kind: Kind::Text(255), about: "Only those whose name has this in it." };
const FORCE: Param =
    Param { name: "force", kind: Kind::Flag, about: "Also where there is something in it." };
const ALL: Param = Param {
    name: "all",
    kind: Kind::Flag,
    about: "All of the installation, for operators; else those one is a member of.",
};
const ORDER: Param = Param {
    name: "order",
    kind: Kind::OneOf(&["newest", "oldest"]),
    about: "Which lines come first. From the oldest on, `next` can be asked for again later.",
};
const FILTERS: [Param; 5] = [
    Param { name: "principal", kind: Kind::Text(256), about: "Only what this principal did." },
    Param {
        name: "repository",
        kind: Kind::Text(255),
        about: "Only what happened in this repository, by its full name then.",
    },
    Param { name: "kind", kind: Kind::Text(64), about: "Only lines of this kind." },
    Param { name: "from", kind: Kind::Time, about: "Only from then on." },
    Param { name: "until", kind: Kind::Time, about: "Only before then." },
];

/// The most items of a page.
pub const MAX_LIMIT: u64 = 1_000;

fn route(method: Method, path: &'static str, access: Access) -> Spec {
    Spec {
        method,
        path,
        access,
        also: Also::Nobody,
        status: StatusCode::NO_CONTENT,
        query: Vec::new(),
        body: None,
        answer: None,
        creates: false,
        tagged: false,
    }
}

fn get(path: &'static str, access: Access, answer: Shape) -> Spec {
    Spec { status: StatusCode::OK, answer: Some(answer), ..route(Method::GET, path, access) }
}

fn list(path: &'static str, access: Access, answer: Shape) -> Spec {
    let spec = get(path, access, answer);
    spec.with(&[CURSOR, LIMIT])
}

/// Something new: `POST` of `body`, answered 201 with `answer`.
fn create(path: &'static str, access: Access, body: Shape, answer: Shape) -> Spec {
    Spec {
        status: StatusCode::CREATED,
        body: Some(body),
        answer: Some(answer),
        creates: true,
        ..route(Method::POST, path, access)
    }
}

/// A change of what is there, answered with what it is then.
fn change(method: Method, path: &'static str, access: Access, body: Shape, answer: Shape) -> Spec {
    Spec {
        status: StatusCode::OK,
        body: Some(body),
        answer: Some(answer),
        tagged: true,
        ..route(method, path, access)
    }
}

fn delete(path: &'static str, access: Access) -> Spec {
    route(Method::DELETE, path, access)
}

impl Spec {
    fn with(mut self, query: &[Param]) -> Self {
        self.query.extend_from_slice(query);
        self
    }

    fn also(self, also: Also) -> Self {
        Self { also, ..self }
    }

    fn tagged(self) -> Self {
        Self { tagged: true, ..self }
    }

    /// What it changes is nowhere shown with an `ETag` of its own.
    fn untagged(self) -> Self {
        Self { tagged: false, ..self }
    }
}

/// Declares the routes: `Name("what it does") = spec`.
macro_rules! routes {
    ($($name:ident($summary:literal) = $spec:expr;)*) => {
        /// A route of the API.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Route {
            $(#[doc = $summary] $name,)*
        }

        impl Route {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// What is declared of it.
            pub fn spec(self) -> Spec {
                match self {
                    $(Self::$name => $spec,)*
                }
            }

            /// What it does, in a sentence.
            pub const fn summary(self) -> &'static str {
                match self {
                    $(Self::$name => $summary,)*
                }
            }

            /// What it is called in the description.
            pub const fn id(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)*
                }
            }

            /// What it is called in logs and metrics.
            pub const fn label(self) -> &'static str {
                match self {
                    $(Self::$name => concat!("admin_", stringify!($name)),)*
                }
            }
        }
    };
}

routes! {
    Describe("The description of this API") =
        get("/openapi.json", Open, openapi::anything());
    Me("Who is signed in") =
        get("/me", SignedIn, of::<m::Me>());

    ListOrganisations("The organisations one is a member of") =
        list("/organisations", SignedIn, page::<m::Organisation>()).with(&[ALL]);
    CreateOrganisation("Create an organisation") =
        create("/organisations", Operator, of::<m::NewOrganisation>(), of::<m::Organisation>())
            .also(Also::Founders);
    GetOrganisation("An organisation") =
        get("/organisations/{organisation}", Allowed(List), of::<m::Organisation>())
            .also(Also::Operators).tagged();
    RenameOrganisation("Give an organisation another name; the old one stays reserved for it") =
        change(Method::PUT, "/organisations/{organisation}/name", Allowed(Manage), of::<m::Rename>(), of::<m::Organisation>());
    SetQuota("Set the most bytes an organisation may store") =
        change(Method::PUT, "/organisations/{organisation}/quota", Operator, of::<m::Quota>(), of::<m::Organisation>());
    DeleteOrganisation("Delete an organisation for ever; its name stays reserved") =
        delete("/organisations/{organisation}", Allowed(Manage)).with(&[FORCE])
            .also(Also::Operators).tagged();
    OrganisationUsage("What an organisation stores") =
        get("/organisations/{organisation}/usage", Allowed(List), of::<m::Usage>())
            .also(Also::Operators);

    ListMembers("The members of an organisation, in the order of their principals") =
        list("/organisations/{organisation}/members", Allowed(Manage), page::<m::Member>());
    InviteMember("Give somebody a role, by user name, e-mail address or principal") =
        create("/organisations/{organisation}/members", Allowed(Manage), of::<m::Invitation>(), of::<m::Member>());
    GetMember("A member of an organisation") =
        get("/organisations/{organisation}/members/{principal}", Allowed(Manage), of::<m::Member>()).tagged();
    SetMemberRole("Give a member another role in the organisation") =
        change(Method::PUT, "/organisations/{organisation}/members/{principal}/role", Allowed(Manage), of::<m::SetRole>(), of::<m::Member>());
    RemoveMember("Take all roles from a member, or leave; the last admin stays") =
        delete("/organisations/{organisation}/members/{principal}", Allowed(Manage))
            .also(Also::Oneself).tagged();

    ListRegistries("The registries of an organisation that one may list") =
        list("/organisations/{organisation}/registries", Allowed(List), page::<m::Registry>());
    CreateRegistry("Create a registry") =
        create("/organisations/{organisation}/registries", Allowed(Manage), of::<m::NewRegistry>(), of::<m::Registry>());
    GetRegistry("A registry and its settings") =
        get("/organisations/{organisation}/registries/{registry}", Allowed(List), of::<m::Registry>()).tagged();
    UpdateRegistry("Change settings of a registry; what is not named stays") =
        change(Method::PATCH, "/organisations/{organisation}/registries/{registry}", Allowed(Manage), of::<m::RegistryChange>(), of::<m::Registry>());
    RenameRegistry("Give a registry another name; the old one stays reserved for it") =
        change(Method::PUT, "/organisations/{organisation}/registries/{registry}/name", Allowed(Manage), of::<m::Rename>(), of::<m::Registry>());
    DeleteRegistry("Delete a registry for ever; its name stays reserved") =
        delete("/organisations/{organisation}/registries/{registry}", Allowed(Manage)).with(&[FORCE]).tagged();
    RegistryUsage("What the repositories of a registry link") =
        get("/organisations/{organisation}/registries/{registry}/usage", Allowed(List), of::<m::RegistryUsage>());
    SetRegistryRole("Give somebody a role in this registry alone") =
        change(Method::PUT, "/organisations/{organisation}/registries/{registry}/members/{principal}", Allowed(Manage), of::<m::SetRole>(), of::<m::RegistryRole>())
            .untagged();
    RemoveRegistryRole("Take somebody's role in this registry") =
        delete("/organisations/{organisation}/registries/{registry}/members/{principal}", Allowed(Manage));

    PreviewRetention("What a registry's rules would remove now, and why; or what other rules would") =
        Spec {
            status: StatusCode::OK,
            creates: false,
            ..create("/organisations/{organisation}/registries/{registry}/retention/preview", Allowed(Manage), of::<m::NewRules>(), page::<m::Expiring>())
        }.with(&[CURSOR, LIMIT]);

    ListWebhooks("The webhooks of a registry") =
        list("/organisations/{organisation}/registries/{registry}/webhooks", Allowed(Manage), page::<m::Webhook>());
    CreateWebhook("Make a webhook, which gets what happens from now on; its secret is shown this once") =
        create("/organisations/{organisation}/registries/{registry}/webhooks", Allowed(Manage), of::<m::NewWebhook>(), of::<m::MadeWebhook>());
    GetWebhook("A webhook, and how it fares") =
        get("/organisations/{organisation}/registries/{registry}/webhooks/{webhook}", Allowed(Manage), of::<m::Webhook>()).tagged();
    UpdateWebhook("Change a webhook; what is not named stays. One that is switched on goes on where it stood") =
        change(Method::PATCH, "/organisations/{organisation}/registries/{registry}/webhooks/{webhook}", Allowed(Manage), of::<m::WebhookChange>(), of::<m::Webhook>());
    RotateWebhookSecret("Give a webhook another secret, shown this once; for a day both sign") =
        Spec {
            status: StatusCode::OK,
            answer: Some(of::<m::WebhookSecret>()),
            ..route(Method::PUT, "/organisations/{organisation}/registries/{registry}/webhooks/{webhook}/secret", Allowed(Manage))
        };
    DeleteWebhook("Delete a webhook; what it did not deliver yet is not delivered") =
        delete("/organisations/{organisation}/registries/{registry}/webhooks/{webhook}", Allowed(Manage)).tagged();
    TestWebhook("Send an event that only tells that it arrives, now and once") =
        Spec {
            status: StatusCode::OK,
            answer: Some(of::<m::Delivery>()),
            ..route(Method::POST, "/organisations/{organisation}/registries/{registry}/webhooks/{webhook}/test", Allowed(Manage))
        };
    ListDeliveries("The last deliveries of a webhook, the newest first") =
        get("/organisations/{organisation}/registries/{registry}/webhooks/{webhook}/deliveries", Allowed(Manage), page::<m::Delivery>());

    ListWorkloadIssuers("The issuers whose tokens runs of CI exchange for ours") =
        list("/workload-issuers", SignedIn, page::<m::WorkloadIssuer>());
    ListWorkloadRules("The rules by which runs of CI get tokens for a registry") =
        list("/organisations/{organisation}/registries/{registry}/workload-rules", Allowed(Manage), page::<m::WorkloadRule>());
    CreateWorkloadRule("Say which runs of CI may do what in a registry") =
        create("/organisations/{organisation}/registries/{registry}/workload-rules", Allowed(Manage), of::<m::NewWorkloadRule>(), of::<m::WorkloadRule>());
    GetWorkloadRule("A rule for runs of CI") =
        get("/organisations/{organisation}/registries/{registry}/workload-rules/{rule}", Allowed(Manage), of::<m::WorkloadRule>());
    DeleteWorkloadRule("Remove a rule, and end its tokens at once") =
        delete("/organisations/{organisation}/registries/{registry}/workload-rules/{rule}", Allowed(Manage));

    ListRepositories("The repositories of a registry, in the order of their names") =
        list("/organisations/{organisation}/registries/{registry}/repositories", Allowed(List), page::<m::Repository>())
            .with(&[PREFIX, SEARCH]);
    DeleteRepository("Delete a repository with all that is in it") =
        delete("/organisations/{organisation}/registries/{registry}/repositories/{repository}", Allowed(Manage));
    ListTags("The tags of a repository, in their order") =
        list("/organisations/{organisation}/registries/{registry}/repositories/{repository}/tags", Allowed(List), page::<m::Tag>());
    GetTag("A tag, and what it points at") =
        get("/organisations/{organisation}/registries/{registry}/repositories/{repository}/tags/{tag}", Allowed(List), of::<m::Tag>());
    ListManifests("The manifests of a repository, in the order of their first push") =
        list("/organisations/{organisation}/registries/{registry}/repositories/{repository}/manifests", Allowed(List), page::<m::Manifest>());
    DeleteTag("Remove a tag; its manifest stays") =
        delete("/organisations/{organisation}/registries/{registry}/repositories/{repository}/tags/{tag}", Allowed(Delete));
    GetManifest("A manifest; looking at it is no pull") =
        get("/organisations/{organisation}/registries/{registry}/repositories/{repository}/manifests/{digest}", Allowed(List), of::<m::Manifest>());
    DeleteManifest("Delete a manifest and its tags, by its digest") =
        delete("/organisations/{organisation}/registries/{registry}/repositories/{repository}/manifests/{digest}", Allowed(Delete));
    ListReferrers("What refers to a digest") =
        list("/organisations/{organisation}/registries/{registry}/repositories/{repository}/manifests/{digest}/referrers", Allowed(Pull), page::<m::Referrer>());

    GetPythonUpstream("The index that names are looked up in which are not the registry's own") =
        get("/organisations/{organisation}/registries/{registry}/python/upstream", Allowed(Manage), of::<m::PythonUpstream>()).tagged();
    SetPythonUpstream("Set the index that a registry fetches from, all of it; the password stays where it is absent and neither user nor address change") =
        change(Method::PUT, "/organisations/{organisation}/registries/{registry}/python/upstream", Allowed(Manage), of::<m::NewPythonUpstream>(), of::<m::PythonUpstream>());
    RemovePythonUpstream("Fetch nothing any more; what was fetched stays") =
        delete("/organisations/{organisation}/registries/{registry}/python/upstream", Allowed(Manage)).tagged();
    GetPythonProject("A Python project and its files, as far as they are here") =
        get("/organisations/{organisation}/registries/{registry}/python/projects/{project}", Allowed(Pull), of::<m::PythonProject>()).tagged();
    SetPythonStatus("Say whether a Python project takes files, and whether they are offered") =
        change(Method::PUT, "/organisations/{organisation}/registries/{registry}/python/projects/{project}/status", Allowed(Delete), of::<m::SetPythonStatus>(), of::<m::PythonProject>());
    SetPythonLocations("Say where a Python project lies elsewhere, all of it") =
        change(Method::PUT, "/organisations/{organisation}/registries/{registry}/python/projects/{project}/locations", Allowed(Delete), of::<m::SetPythonLocations>(), of::<m::PythonProject>());
    YankPythonProject("Yank all files of a Python project, or take that back") =
        change(Method::PUT, "/organisations/{organisation}/registries/{registry}/python/projects/{project}/yanked", Allowed(Delete), of::<m::SetYanked>(), of::<m::PythonProject>());
    YankPythonVersion("Yank the files of a version, or take that back") =
        change(Method::PUT, "/organisations/{organisation}/registries/{registry}/python/projects/{project}/versions/{version}/yanked", Allowed(Delete), of::<m::SetYanked>(), of::<m::PythonProject>());
    YankPythonFile("Yank a file, or take that back") =
        change(Method::PUT, "/organisations/{organisation}/registries/{registry}/python/projects/{project}/files/{file}/yanked", Allowed(Delete), of::<m::SetYanked>(), of::<m::PythonProject>());
    DeletePythonProject("Delete all files of a Python project for ever; their names are never given to other bytes") =
        delete("/organisations/{organisation}/registries/{registry}/python/projects/{project}", Allowed(Delete)).tagged();
    DeletePythonVersion("Delete the files of a version for ever; their names are never given to other bytes") =
        delete("/organisations/{organisation}/registries/{registry}/python/projects/{project}/versions/{version}", Allowed(Delete)).tagged();
    DeletePythonFile("Delete a file for ever; its name is never given to other bytes") =
        delete("/organisations/{organisation}/registries/{registry}/python/projects/{project}/files/{file}", Allowed(Delete)).tagged();

    ListRobots("The robots of an organisation") =
        list("/organisations/{organisation}/robots", Allowed(Manage), page::<m::Robot>());
    CreateRobot("Create a robot of an organisation, without a role or token yet") =
        create("/organisations/{organisation}/robots", Allowed(Manage), of::<m::NewRobot>(), of::<m::Robot>());
    GetRobot("A robot of an organisation") =
        get("/organisations/{organisation}/robots/{robot}", Allowed(Manage), of::<m::Robot>()).tagged();
    DisableRobot("Shut a robot out at once, or let it in again") =
        change(Method::PUT, "/organisations/{organisation}/robots/{robot}/disabled", Allowed(Manage), of::<m::Disabled>(), of::<m::Robot>());
    DeleteRobot("Delete a robot for ever, with its tokens; its name stays reserved") =
        delete("/organisations/{organisation}/robots/{robot}", Allowed(Manage)).tagged();
    ListRobotTokens("The tokens of a robot") =
        list("/organisations/{organisation}/robots/{robot}/tokens", Allowed(Manage), page::<m::Token>());
    CreateRobotToken("Make a token for a robot, which is shown this once") =
        create("/organisations/{organisation}/robots/{robot}/tokens", Allowed(Manage), of::<m::NewToken>(), of::<m::MadeToken>());
    RevokeRobotToken("End a token of a robot at once") =
        delete("/organisations/{organisation}/robots/{robot}/tokens/{token}", Allowed(Manage));

    ListMyTokens("One's own tokens; signed in with the password") =
        list("/tokens", SignedIn, page::<m::Token>());
    CreateMyToken("Make a token for oneself, which is shown this once; signed in with the password") =
        create("/tokens", SignedIn, of::<m::NewToken>(), of::<m::MadeToken>());
    RevokeMyToken("End one of one's own tokens at once; signed in with the password") =
        delete("/tokens/{token}", SignedIn);

    ListUsers("All people with an account here") =
        list("/users", Operator, page::<m::User>());
    CreateUser("Create somebody") =
        create("/users", Operator, of::<m::NewUser>(), of::<m::User>());
    GetUser("Somebody with an account here") =
        get("/users/{user}", Operator, of::<m::User>()).tagged();
    DisableUser("Shut somebody out at once, or let them in again") =
        change(Method::PUT, "/users/{user}/disabled", Operator, of::<m::Disabled>(), of::<m::User>());
    SetOperator("Let somebody operate the installation, or not any more") =
        change(Method::PUT, "/users/{user}/operator", Operator, of::<m::Operates>(), of::<m::User>());
    SetPassword("Set somebody's password") =
        change(Method::PUT, "/users/{user}/password", Operator, of::<m::Password>(), of::<m::User>());
    DeleteUser("Delete somebody for ever; the name stays reserved") =
        delete("/users/{user}", Operator).tagged();

    ListTrail("The audit trail of an organisation") =
        list("/organisations/{organisation}/audit", Allowed(Manage), page::<m::AuditLine>())
            .with(&FILTERS).with(&[ORDER]);
    ExportTrail("The audit trail of an organisation as JSON Lines, the oldest first") =
        get("/organisations/{organisation}/audit/export", Allowed(Manage), openapi::lines())
            .with(&FILTERS);
    ListSystemTrail("The audit trail of what belongs to no organisation") =
        list("/audit", Operator, page::<m::AuditLine>()).with(&FILTERS).with(&[ORDER]);
    ExportSystemTrail("The audit trail of what belongs to no organisation as JSON Lines") =
        get("/audit/export", Operator, openapi::lines()).with(&FILTERS);

    ListJobs("The collections and scrubs that this process runs or ran, the newest first") =
        list("/jobs", Operator, page::<m::Job>());
    StartJob("Start a collection or a scrub") =
        create("/jobs", Operator, of::<m::NewJob>(), of::<m::Job>());
    GetJob("How far a collection or scrub is, and what came of it") =
        get("/jobs/{job}", Operator, of::<m::Job>());
    StopJob("Stop a collection or scrub; what it did stays done") =
        delete("/jobs/{job}", Operator);
}

/// What stands in a path where its template has a name.
pub(crate) type Places = Vec<(&'static str, String)>;

/// Why a request is for no route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RouteError {
    /// Nothing is there.
    Nothing,
    /// Something is, but not with this method; these are.
    Method(Vec<Method>),
}

/// The route of a request, and what stands in its path.
pub(crate) fn find(method: &Method, path: &str) -> Result<(Route, Places), RouteError> {
    let below = path.strip_prefix(BASE).ok_or(RouteError::Nothing)?;
    let asked = if *method == Method::HEAD { &Method::GET } else { method };
    let mut allowed = Vec::new();
    for route in Route::ALL {
        let spec = route.spec();
        let Some(places) = places(spec.path, below) else { continue };
        if spec.method == *asked {
            return Ok((*route, places));
        }
        if spec.method == Method::GET {
            allowed.push(Method::HEAD);
        }
        allowed.push(spec.method);
    }
    Err(if allowed.is_empty() { RouteError::Nothing } else { RouteError::Method(allowed) })
}

/// What stands in `path` for the names of `template`; `None` where the two do not match.
fn places(template: &'static str, path: &str) -> Option<Places> {
    let (mut wanted, mut given) = (template.split('/'), path.split('/'));
    let mut places = Vec::new();
    loop {
        match (wanted.next(), given.next()) {
            (None, None) => return Some(places),
            (Some(wanted), Some(given)) => match name(wanted) {
                Some(name) if !given.is_empty() => {
                    let text = percent_encoding::percent_decode_str(given).decode_utf8().ok()?;
                    places.push((name, text.into_owned()));
                }
                None if wanted == given => {}
                _ => return None,
            },
            _ => return None,
        }
    }
}

/// The name that a segment of a template stands for.
pub(crate) fn name(segment: &'static str) -> Option<&'static str> {
    segment.strip_prefix('{')?.strip_suffix('}')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A path of a route, with `x` wherever something stands.
    fn path(route: Route) -> String {
        let spec = route.spec();
        let segments = spec.path.split('/').map(|one| if name(one).is_some() { "x" } else { one });
        format!("{BASE}{}", segments.collect::<Vec<_>>().join("/"))
    }

    #[test]
    fn every_route_is_found_by_its_path_and_no_other_by_that() {
        for route in Route::ALL {
            let (method, path) = (route.spec().method, path(*route));
            assert_eq!(find(&method, &path).unwrap().0, *route, "{path}");
            for near in [format!("{path}/"), format!("/{path}"), format!("{path}/y/z/w/v/u")] {
                assert_eq!(find(&method, &near), Err(RouteError::Nothing), "{near}");
            }
        }
        assert_eq!(
            find(&Method::PATCH, "/api/v1/me"),
            Err(RouteError::Method(vec![Method::HEAD, Method::GET]))
        );
    }

    #[test]
    fn what_changes_something_demands_more_than_nothing() {
        for route in Route::ALL {
            let Spec { method, access, query, body, creates, .. } = route.spec();
            let harmless = matches!(access, Access::Open | Access::Shown);
            assert!(method == Method::GET || !harmless, "{route:?}");
            assert!(body.is_none() || method != Method::GET, "{route:?}");
            let looks = matches!(route, Route::PreviewRetention | Route::TestWebhook);
            assert_eq!(creates, method == Method::POST && !looks, "{route:?}");
            let mut names: Vec<_> = query.iter().map(|param| param.name).collect();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), query.len(), "{route:?}");
        }
    }

    #[test]
    fn a_name_with_slashes_is_one_segment() {
        let path = "/api/v1/organisations/acme/registries/main/repositories/a%2Fb/tags/v1";
        let (route, places) = find(&Method::DELETE, path).unwrap();
        assert_eq!(route, Route::DeleteTag);
        assert_eq!(places[2], ("repository", "a/b".to_owned()));
    }
}
