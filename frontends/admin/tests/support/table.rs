//! What every route must answer everybody, by what it declares.

use http::StatusCode as S;
use strongroom_admin::routes::{Also, Route, Spec};
use strongroom_engine::access::{Action, Role};
use strongroom_identity::Access;

/// The same for a run of CI, which has a token for looking into one registry. A token makes, lists and
/// ends none of its owner's; and of its organisation it does not reach so much as that it is there.
fn expected_of_run(spec: &Spec) -> S {
    let within = spec.path.contains("{registry}");
    match spec.access {
        Access::Open | Access::Shown => spec.status,
        Access::SignedIn if !spec.path.starts_with("/tokens") => spec.status,
        Access::Allowed(Action::List | Action::Pull) if within => spec.status,
        Access::Allowed(_) if !within => S::NOT_FOUND,
        Access::SignedIn | Access::Operator | Access::Allowed(_) => S::FORBIDDEN,
    }
}

/// The answer that follows from what the route declares.
pub(crate) fn expected(route: Route, (caller, role): (&str, Option<Role>)) -> S {
    let spec = route.spec();
    if caller == "run" {
        return expected_of_run(&spec);
    }
    match spec.access {
        Access::Open => spec.status,
        _ if caller == "anonymous" => S::UNAUTHORIZED,
        Access::Shown | Access::SignedIn => spec.status,
        Access::Operator if caller == "operator" || spec.also == Also::Founders => spec.status,
        Access::Operator => S::FORBIDDEN,
        Access::Allowed(action) => match role {
            Some(role) if role.allows(action) => spec.status,
            Some(_) => S::FORBIDDEN,
            None if caller == "operator" && spec.also == Also::Operators => spec.status,
            None => S::NOT_FOUND,
        },
    }
}
