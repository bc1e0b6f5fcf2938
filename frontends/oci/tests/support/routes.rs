//! The route table as requests, with what each must answer whom: what tests go through.

use http::{Method, StatusCode as S};
use strongroom_engine::access::{Action, Role};
use strongroom_identity::Access;
use strongroom_oci::routes::{Operation, Task};

use super::house::{House, NARROW};
use super::{Answer, Asking, IMAGE, World, image, sha256};

/// Its number in [`ROUTES`]: an operation that is added without a request here does not compile.
pub(crate) const fn number(operation: &Operation) -> usize {
    let task = match operation {
        Operation::Ping => return 0,
        Operation::Catalog => return 1,
        Operation::In(_, task) => task,
    };
    match task {
        Task::ListTags => 2,
        Task::ListReferrers(_) => 3,
        Task::GetManifest(_) => 4,
        Task::HeadManifest(_) => 5,
        Task::PutManifest(_) => 6,
        Task::DeleteManifest(_) => 7,
        Task::GetBlob(_) => 8,
        Task::HeadBlob(_) => 9,
        Task::DeleteBlob(_) => 10,
        Task::StartUpload => 11,
        Task::UploadStatus(_) => 12,
        Task::AppendUpload(_) => 13,
        Task::FinishUpload(_) => 14,
        Task::CancelUpload(_) => 15,
    }
}

/// A request of each operation: method, path, what it answers who may, and what it answers them
/// where the repository is not there.
pub(crate) const ROUTES: [(&str, &str, S, S); 16] = [
    ("GET", "/v2/", S::OK, S::OK),
    ("GET", "/v2/_catalog", S::OK, S::OK),
    ("GET", "/v2/$NAME/tags/list", S::OK, S::NOT_FOUND),
    ("GET", "/v2/$NAME/referrers/$MANIFEST", S::OK, S::OK),
    ("GET", "/v2/$NAME/manifests/v1", S::OK, S::NOT_FOUND),
    ("HEAD", "/v2/$NAME/manifests/$MANIFEST", S::OK, S::NOT_FOUND),
    ("PUT", "/v2/$NAME/manifests/v2", S::CREATED, S::BAD_REQUEST),
    ("DELETE", "/v2/$NAME/manifests/v1", S::ACCEPTED, S::NOT_FOUND),
    ("GET", "/v2/$NAME/blobs/$BLOB", S::OK, S::NOT_FOUND),
    ("HEAD", "/v2/$NAME/blobs/$BLOB", S::OK, S::NOT_FOUND),
    ("DELETE", "/v2/$NAME/blobs/$SPARE", S::ACCEPTED, S::NOT_FOUND),
    ("POST", "/v2/$NAME/blobs/uploads/", S::ACCEPTED, S::ACCEPTED),
    // The upload is of the admin, in the first place: to all others and elsewhere it is none.
    ("GET", "/v2/$NAME/blobs/uploads/$UPLOAD", S::NO_CONTENT, S::NOT_FOUND),
    ("PATCH", "/v2/$NAME/blobs/uploads/$UPLOAD", S::ACCEPTED, S::NOT_FOUND),
    ("PUT", "/v2/$NAME/blobs/uploads/$UPLOAD?digest=$FRESH", S::CREATED, S::NOT_FOUND),
    ("DELETE", "/v2/$NAME/blobs/uploads/$UPLOAD", S::NO_CONTENT, S::NOT_FOUND),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Private,
    Public,
    /// The repository is not there.
    Absent,
    /// The registry or the organisation is not there.
    Nowhere,
}

use Place::{Absent, Nowhere, Private, Public};

/// All names are equally long, so that answers can be compared. The first tenant is the callers'.
pub(crate) const PLACES: [(&str, Place, bool); 9] = [
    ("acme/main/api", Private, true),
    ("acme/open/api", Public, true),
    ("acme/main/nix", Absent, true),
    ("acme/nixx/api", Nowhere, true),
    ("peer/main/api", Private, false),
    ("peer/open/api", Public, false),
    ("peer/main/nix", Absent, false),
    ("peer/nixx/api", Nowhere, false),
    ("nixx/main/api", Nowhere, false),
];

pub(crate) const NEVER: &str = "00112233445566778899aabbccddeeff";

/// In both tenants a private and a public repository with an image and a blob that nothing names,
/// and an upload of the admin in the first place.
pub(crate) async fn furnished() -> (House, String) {
    let house = House::new().await;
    let world = &house.world;
    for (name, place, _) in PLACES {
        if matches!(place, Absent | Nowhere) {
            continue;
        }
        let owner = if name.starts_with("acme") { "admin" } else { "stranger" };
        for bytes in [&b"{}"[..], b"layer", b"spare"] {
            let path = format!("/v2/{name}/blobs/uploads/?digest={}", sha256(bytes));
            let push = world.request("POST", &path).body(bytes);
            house.ask(push, owner).await.expect(S::CREATED);
        }
        let put =
            world.request("PUT", &format!("/v2/{name}/manifests/v1")).body(image(b"layer", ""));
        house.ask(put.header("content-type", IMAGE), owner).await.expect(S::CREATED);
    }
    let start = world.request("POST", &format!("/v2/{}/blobs/uploads/", PLACES[0].0));
    let started = house.ask(start, "admin").await;
    let upload = started.expect(S::ACCEPTED).header("docker-upload-uuid").to_owned();
    (house, upload)
}

pub(crate) fn path(route: usize, name: &str, upload: &str) -> String {
    let manifest = sha256(image(b"layer", "").as_bytes()).to_string();
    ROUTES[route]
        .1
        .replace("$NAME", name)
        .replace("$BLOB", &sha256(b"layer").to_string())
        .replace("$FRESH", &sha256(b"fresh").to_string())
        .replace("$SPARE", &sha256(b"spare").to_string())
        .replace("$MANIFEST", &manifest)
        .replace("$UPLOAD", upload)
}

pub(crate) fn asking<'a>(world: &'a World, route: usize, name: &str, upload: &str) -> Asking<'a> {
    let method = ROUTES[route].0;
    let asking = world.request(method, &path(route, name, upload));
    match ROUTES[route].1 {
        path if path.contains("manifests/v2") => {
            asking.header("content-type", IMAGE).body(image(b"layer", ""))
        }
        _ if matches!(method, "PATCH" | "PUT") => asking.body("fresh"),
        _ => asking,
    }
}

/// What the route table declares.
pub(crate) fn access(route: usize) -> Access {
    operation(route).access()
}

pub(crate) fn operation(route: usize) -> Operation {
    let method: Method = ROUTES[route].0.parse().unwrap();
    let path = path(route, PLACES[0].0, NEVER);
    let path = path.split_once('?').map_or(path.as_str(), |(path, _)| path);
    let operation = Operation::parse(&method, path).unwrap();
    assert_eq!(number(&operation), route, "the table is in the order of the numbers");
    operation
}

/// The answer that follows from what is declared: its status, and the error's code where there is
/// one that says more.
pub(crate) fn expected(
    route: usize,
    (caller, role): (&str, Option<Role>),
    (name, place, ours): (&str, Place, bool),
) -> (S, Option<&'static str>) {
    const CHALLENGED: (S, Option<&str>) = (S::UNAUTHORIZED, Some("UNAUTHORIZED"));
    let anonymous = caller == "anonymous";
    if matches!(caller, "revoked" | "expired") {
        return CHALLENGED;
    }
    let action = match access(route) {
        Access::Shown | Access::SignedIn if anonymous => return CHALLENGED,
        Access::Open | Access::Shown | Access::SignedIn => return (S::OK, None),
        Access::Operator => panic!("no operation of this API is for operators"),
        Access::Allowed(action) => action,
    };
    let role = match caller {
        "stranger" => Some(Role::Admin).filter(|_| name.starts_with("peer")),
        _ => role.filter(|_| ours),
    };
    let may = |action: Action| {
        let narrow = matches!(caller, "narrow" | "run");
        let reached = !narrow || (name == NARROW.0 && NARROW.1.contains(&action));
        let granted = role.is_some_and(|role| role.allows(action));
        let public = place == Public && matches!(action, Action::List | Action::Pull);
        reached && (granted || public) && place != Nowhere
    };
    let all = [Action::List, Action::Pull, Action::Push, Action::Delete, Action::Manage];
    if may(action) {
        let (.., there, absent) = ROUTES[route];
        let upload = ROUTES[route].1.contains("$UPLOAD");
        let nobodys = upload && (caller, name) != ("admin", PLACES[0].0);
        (if place == Absent || nobodys { absent } else { there }, None)
    } else if anonymous {
        CHALLENGED
    } else if all.into_iter().any(may) {
        (S::FORBIDDEN, Some("DENIED"))
    } else {
        (S::NOT_FOUND, Some("NAME_UNKNOWN"))
    }
}

/// The scope of a token that is for a route there, as clients ask for it.
pub(crate) fn scope(route: usize, name: &str) -> Option<String> {
    match operation(route) {
        Operation::Ping => None,
        Operation::Catalog => Some("registry:catalog:*".to_owned()),
        Operation::In(_, task) => Some(match task.action() {
            Action::List | Action::Pull => format!("repository:{name}:pull"),
            Action::Push => format!("repository:{name}:pull,push"),
            Action::Delete | Action::Manage => format!("repository:{name}:delete"),
        }),
    }
}

/// What an answer shows, without what the request itself said.
pub(crate) fn shown(answer: &Answer, name: &str) -> (S, Vec<(String, String)>, String) {
    let strip = |text: &str| text.replace(name, "NAME");
    let headers = answer.headers.iter();
    let headers = headers.map(|(name, value)| (name.to_string(), strip(value.to_str().unwrap())));
    (answer.status, headers.collect(), strip(std::str::from_utf8(&answer.body).unwrap()))
}
